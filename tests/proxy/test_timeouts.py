"""How long a call may take: in all, until a stream begins, between its pieces. What is late is never asked again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream, Received, Script, event, raw, silence
from tests.proxy.harness import Files, chat, proxy, until

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ONE = event({"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]})
CHUNK = b"%x\r\n%b\r\n" % (len(ONE), ONE)


def slow_bytes(answer: bytes, pause: float) -> Script:
    """One byte at a time."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        for byte in answer:
            writer.write(bytes([byte]))
            await asyncio.sleep(pause)

    return script


def late(seconds: float, answer: bytes) -> Script:
    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(answer)

    return script


WHOLE = b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}'


@pytest.mark.parametrize(
    ("script", "stream", "words"),
    [
        pytest.param(silence(), False, "not answer within 0.5 s", id="no answer at all"),
        pytest.param(silence(), True, "begin to answer within 0.2 s", id="a stream that does not begin"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\ncont"), True, "begin to answer within 0.2 s", id="half a head"),
        pytest.param(slow_bytes(WHOLE, 0.05), False, "not answer within 0.5 s", id="an answer byte by byte"),
        pytest.param(raw(WHOLE[:-2]), False, "not answer within 0.5 s", id="an answer that does not end"),
        pytest.param(raw(WHOLE[:-2]), True, "not answer within 0.5 s", id="a whole answer in place of a stream"),
    ],
)
async def test_an_answer_that_is_late_is_504_and_not_asked_again(
    files: Files, upstream: FakeUpstream, script: Script, stream: bool, words: str
) -> None:
    files.usual(upstream.base, request_timeout_seconds=0.5)
    upstream.scripts.append(script)
    async with proxy(files, first_byte_seconds=0.2) as running:
        answer = await chat(running.port, stream=stream)
        assert (answer.status, answer.json["error_code"]) == (504, "DEADLINE_EXCEEDED")
        assert words in answer.json["message"]
        assert len(upstream.requests) == 1
        await until(lambda: upstream.connections > upstream.closed - 1)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(raw(HEAD, CHUNK), "sent nothing for 0.3 s", id="silence between events"),
        pytest.param(raw(HEAD), "sent nothing for 0.3 s", id="silence after the head"),
        pytest.param(raw(HEAD, CHUNK, b"5\r\n"), "sent nothing for 0.3 s", id="silence after a chunk's header"),
        pytest.param(slow_bytes(HEAD + CHUNK * 9, 0.02), "not answer within 1.5 s", id="byte by byte without end"),
    ],
)
async def test_a_stream_that_stalls_ends_in_a_typed_error_and_no_end_mark(
    files: Files, upstream: FakeUpstream, script: Script, words: str
) -> None:
    files.usual(upstream.base, request_timeout_seconds=1.5)
    upstream.scripts.append(script)
    async with proxy(files, stream_idle_seconds=0.3, first_byte_seconds=5.0) as running:
        answer = await chat(running.port, stream=True)
        if answer.status == 200:
            last: Any = json.loads(answer.body.rstrip().rpartition(b"data: ")[2])
            assert last["error"]["code"] == last["error_code"] == "DEADLINE_EXCEEDED"
            assert b"[DONE]" not in answer.body
        else:
            last = answer.json
        assert words in last["message"]
        assert len(upstream.requests) == 1


async def test_a_whole_answer_may_take_longer_than_a_stream_to_begin(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, request_timeout_seconds=10.0)
    upstream.scripts.append(late(0.5, WHOLE))
    async with proxy(files, first_byte_seconds=0.1, stream_idle_seconds=0.1) as running:
        assert (await chat(running.port)).json == {"a": 1}
