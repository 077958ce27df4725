"""Calls that are several requests: order, bounds, and what becomes of the others when one goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from model_serving.proxy.batch import AT_ONCE, Batch
from model_serving.proxy.http.pool import Fetch
from model_serving.proxy.http.response import Cause, Failure
from model_serving.proxy_config import CredentialFile, Limit
from tests.fakes.upstream import FakeUpstream, Received, Script, raw, whole
from tests.proxy.harness import Answer, Files, Running, call, proxy, request_bytes, target, until

TASK = "llm/v1/embeddings"
CREDENTIALS = {name: CredentialFile("aws", name) for name in ("aws_access_key_id", "aws_secret_access_key")}


@dataclass
class Titan(FakeUpstream):
    """An embedding model that takes one text at a time: the vector of `12` is [12.0]."""

    seconds: float = 0.0
    odd: dict[str, list[Script]] = field(default_factory=dict)
    """What it does with certain texts, each time another thing."""
    at_once: int = 0
    most: int = 0
    """Requests that were under way together."""
    known: set[str] | None = None
    """Ids of keys that count; None: all do."""

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self._script(request)(request, writer)
        finally:
            self.at_once -= 1

    def _script(self, request: Received) -> Script:
        text = request.json["inputText"]
        signed = (request.header("authorization") or "").partition("Credential=")[2].partition("/")[0]
        if self.known is not None and signed not in self.known:
            return whole(403, {"message": "The security token included in the request is invalid."})
        if self.odd.get(text):
            return self.odd[text].pop(0)
        return self._embed

    async def _embed(self, request: Received, writer: asyncio.StreamWriter) -> None:
        number = float(request.json["inputText"])
        await asyncio.sleep(self.seconds * (1.5 - (number % 3) / 2))  # later ones are often earlier
        await whole(200, {"embedding": [number], "inputTextTokenCount": 2})(request, writer)

    def texts(self) -> list[str]:
        """What it was asked for, in order."""
        return [request.json["inputText"] for request in self.requests]


@pytest.fixture
async def titan() -> AsyncIterator[Titan]:
    async with Titan() as titan:
        yield titan


async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
    """An answer that goes on until the connection ends."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await asyncio.sleep(0.01)


def set_up(files: Files, titan: Titan, **policy: Any) -> None:
    settings = {"aws_region": "eu-central-1", "bedrock_provider": "amazon", "aws_endpoint_url": titan.base[:-3]}
    changes = {"provider": "amazon-bedrock", "task": TASK, "model": "amazon.titan-embed-text-v2:0"}
    files.config([target("", settings=settings, credentials=CREDENTIALS, **changes)])
    files.policy(**policy)
    files.key()
    put_keys(files, "sk-test-id-1")


def put_keys(files: Files, key_id: str) -> None:
    files.secret(key_id, "aws", "aws_access_key_id")
    files.secret("sk-test-secret", "aws", "aws_secret_access_key")


@pytest.fixture
async def running(files: Files, titan: Titan) -> AsyncIterator[Running]:
    set_up(files, titan)
    async with proxy(files) as running:
        yield running


async def embed(running: Running, count: int) -> Answer:
    return await call(running.port, "/serving-endpoints/ep/invocations", {"input": [str(n) for n in range(count)]})


def held(running: Running) -> int:
    """Bytes that the process counts as held."""
    used: int = running.service.data.memory.used
    return used


# --- when all is well


async def test_answers_come_in_the_order_of_the_texts_few_requests_at_a_time(titan: Titan, running: Running) -> None:
    titan.seconds = 0.02
    answer = await embed(running, 40)
    assert answer.status == 200, answer.body
    assert [item["embedding"] for item in answer.json["data"]] == [[float(n)] for n in range(40)]
    assert answer.json["usage"] == {"prompt_tokens": 80, "total_tokens": 80}
    assert titan.most == AT_ONCE
    assert held(running) == 0


async def test_one_text_is_one_request(titan: Titan, running: Running) -> None:
    assert (await embed(running, 1)).status == 200
    assert titan.texts() == ["0"]


async def test_an_answer_that_only_the_closing_ends_is_taken_when_it_is_complete(
    titan: Titan, running: Running
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    titan.odd["3"] = [raw(head, b'{"embedding": [3.0],', b' "inputTextTokenCount": 2}', close=True)]
    assert (await embed(running, 12)).status == 200
    titan.odd["3"] = [raw(head, b'{"embedding": [3.0],', close=True)]
    answer = await embed(running, 12)
    assert (answer.status, answer.json["message"]) == (503, "the provider's answer broke off")


# --- when one goes wrong

TOO_LONG = {"message": "Too many input tokens."}
CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"
BROKEN: list[Any] = [
    pytest.param(whole(400, TOO_LONG), (400, "Too many input tokens."), id="refused"),
    pytest.param(whole(429, {"message": "Too many requests"}, retry_after="7"), (429, "Too many"), id="throttled"),
    pytest.param(whole(500, b"x" * 100_000), (500, "xxx"), id="a long error"),
    pytest.param(raw(abort=True), (503, "without an answer"), id="reset before its answer"),
    pytest.param(raw(CUT, abort=True), (503, "broke off"), id="reset amid it"),
    pytest.param(raw(b"HTTP/9 what\r\n\r\n"), (503, "not valid HTTP"), id="no HTTP"),
    pytest.param(whole(200, b"{"), (503, "not what its API says"), id="no JSON"),
    pytest.param(whole(200, {"embedding": "x"}), (503, "not what its API says"), id="another JSON"),
]  # fmt: skip


@pytest.mark.parametrize("number", [0, 11], ids=["at first", "when others have answered"])
@pytest.mark.parametrize(("script", "told"), BROKEN)
async def test_one_failure_is_the_calls(
    titan: Titan, running: Running, script: Script, told: tuple[int, str], number: int
) -> None:
    titan.odd[str(number)] = [script]
    answer = await embed(running, 12)
    assert answer.status == told[0], answer.body
    assert told[1] in answer.body.decode()
    assert held(running) == 0
    titan.odd.clear()
    assert (await embed(running, 12)).status == 200, "nothing is left over"
    await until(lambda: titan.at_once == 0)


async def test_a_failure_ends_the_others_and_no_more_are_sent(titan: Titan, running: Running) -> None:
    async def late(request: Received, writer: asyncio.StreamWriter) -> None:
        await until(lambda: titan.at_once == AT_ONCE)
        await whole(400, TOO_LONG)(request, writer)

    titan.odd = {str(n): [endless] for n in range(30)} | {"3": [late]}
    answer = await embed(running, 30)
    assert answer.status == 400
    assert len(titan.requests) == AT_ONCE
    await until(lambda: titan.closed >= AT_ONCE - 1)


async def test_who_leaves_ends_all(titan: Titan, running: Running) -> None:
    titan.odd = {str(n): [endless] for n in range(4, 30)}
    body = json.dumps({"input": [str(n) for n in range(30)]}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request_bytes("POST", "/serving-endpoints/ep/invocations", body))
    await until(lambda: len(titan.requests) == 4 + AT_ONCE)
    writer.transport.abort()
    await until(lambda: titan.closed >= AT_ONCE)
    assert len(titan.requests) == 4 + AT_ONCE
    await until(lambda: held(running) == 0)


async def test_the_end_of_the_process_ends_all(files: Files, titan: Titan) -> None:
    set_up(files, titan)
    titan.odd = {str(n): [endless] for n in range(30)}
    async with proxy(files) as running:
        asked = asyncio.create_task(embed(running, 30))
        await until(lambda: len(titan.requests) == AT_ONCE)
        running.service.end()
        assert (await asked).status == 503
        await until(lambda: titan.closed >= AT_ONCE)


# --- memory


@pytest.mark.parametrize("answered", [200, 500], ids=["answers", "errors"])
async def test_answers_count_in_the_memory_that_all_calls_share(titan: Titan, running: Running, answered: int) -> None:
    running.service.data.memory.limit = 300_000
    many = {"embedding": [0.5] * 20_000, "inputTextTokenCount": 1}
    titan.odd = {str(n): [whole(answered, many)] for n in range(30)}
    for n in range(AT_ONCE):  # else the first error would be the answer
        titan.odd[str(n)] = [whole(200, many)]
    answer = await embed(running, 30)
    assert answer.status == 503
    assert "holds as many bytes of calls as it can" in answer.body.decode()
    assert held(running) == 0
    assert len(titan.requests) < 30


async def test_a_slow_client_holds_up_nothing_but_itself(titan: Titan, running: Running) -> None:
    titan.odd = {str(n): [whole(200, {"embedding": [0.5] * 40_000, "inputTextTokenCount": 1})] for n in range(20)}
    body = json.dumps({"input": [str(n) for n in range(20)]}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
    writer.write(request_bytes("POST", "/serving-endpoints/ep/invocations", body))
    await until(lambda: len(titan.requests) == 20)
    await until(lambda: held(running) == 0)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    writer.transport.abort()


# --- credentials and limits


async def test_a_credential_that_is_refused_amid_a_batch_is_replaced_once(
    files: Files, titan: Titan, running: Running
) -> None:
    titan.seconds = 0.05
    titan.known = {"sk-test-id-1"}
    asked = asyncio.create_task(embed(running, 30))
    await until(lambda: len(titan.requests) > AT_ONCE)
    put_keys(files, "sk-test-id-2")
    titan.known = {"sk-test-id-2"}
    answer = await asked
    assert answer.status == 200, answer.body
    assert [item["embedding"] for item in answer.json["data"]] == [[float(n)] for n in range(30)]
    assert held(running) == 0


async def test_a_second_refusal_is_the_answer(files: Files, titan: Titan, running: Running) -> None:
    titan.known = {"sk-test-id-1"}
    assert (await embed(running, 2)).status == 200
    put_keys(files, "sk-test-id-2")
    titan.known = set()
    before = len(titan.requests)
    answer = await embed(running, 30)
    assert answer.status == 403
    assert "security token included in the request is invalid" in answer.body.decode()
    assert len(titan.requests) - before <= 2 * AT_ONCE


async def test_what_was_processed_counts_although_the_call_failed(files: Files, titan: Titan) -> None:
    set_up(files, titan, limits=[Limit("endpoint", tokens=40)])
    async with proxy(files) as running:
        titan.odd = {"11": [whole(400, TOO_LONG)] * 9}
        statuses = [(await embed(running, 12)).status for _ in range(9)]
    assert statuses[0] == 400
    assert statuses[-1] == 429, "else a bad text at the end would make all others free"


# --- the parts by themselves


@dataclass
class Listener:
    """What a relay would hear; `on_data` may end all, as a relay does that has no more room."""

    heard: list[tuple[Any, ...]] = field(default_factory=list)
    on_data: Callable[[], None] = lambda: None

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.heard.append(("whole", status, body))

    def response_started(self, status: int, headers: dict[bytes, bytes], data: bytes) -> None:
        self.heard.append(("started", status, data))
        self.on_data()

    def response_data(self, data: bytes) -> None:
        self.heard.append(("data", data))
        self.on_data()

    def response_ended(self, data: bytes, framed: bool) -> None:
        self.heard.append(("ended", data, framed))

    def response_failed(self, failure: Failure) -> None:
        self.heard.append(("failed", failure))


class Line:
    """Sends nothing, and keeps who listens."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.aborted = 0

    def __call__(self, request: bytes, listener: Any) -> Fetch:
        self.parts.append(listener)
        line = self

        class Sent(Fetch):
            def abort(self) -> None:
                line.aborted += 1

        return Sent()


def batch(count: int) -> tuple[Batch, Line, Listener]:
    line, listener = Line(), Listener()
    made = Batch([b"%d" % n for n in range(count)], line, listener)
    made.start()
    return made, line, listener


def test_every_byte_is_told_once_and_the_end_after_the_last() -> None:
    made, line, listener = batch(2)
    line.parts[1].response_started(200, {}, b"a")
    line.parts[0].response_whole(200, {}, b"zero")
    line.parts[1].response_data(b"b")
    line.parts[1].response_ended(b"c", framed=True)
    assert listener.heard == [
        ("started", 200, b"a"), ("data", b"zero"), ("data", b"b"), ("data", b"c"), ("ended", b"", True),
    ]  # fmt: skip
    assert made.answers == [b"zero", b"abc"]


@pytest.mark.parametrize("way", ["response_whole", "response_started"])
def test_a_listener_that_ends_all_hears_nothing_more(way: str) -> None:
    made, line, listener = batch(20)
    listener.on_data = made.abort
    getattr(line.parts[2], way)(200, {}, b"x")
    assert listener.heard == [("started", 200, b"x")]
    assert line.aborted == (AT_ONCE - 1 if way == "response_whole" else AT_ONCE), "what has ended is not ended again"
    assert len(line.parts) == AT_ONCE


@pytest.mark.parametrize(
    ("before", "sent"),
    [
        pytest.param(lambda parts: None, False, id="none has left"),
        pytest.param(lambda parts: parts[1].response_whole(200, {}, b"{}"), True, id="another has been answered"),
        pytest.param(lambda parts: setattr(parts[1].fetch, "connection", object()), True, id="another has left"),
    ],
)
def test_a_call_counts_as_sent_when_any_of_its_requests_was(before: Callable[[list[Any]], None], sent: bool) -> None:
    _, line, listener = batch(3)
    before(line.parts)
    line.parts[0].response_failed(Failure(Cause.CONNECT, "no room", sent=False))
    assert listener.heard[-1] == ("failed", Failure(Cause.CONNECT, "no room", sent=sent))
    assert sum(kind == "failed" for kind, *_ in listener.heard) == 1
