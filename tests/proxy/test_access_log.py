"""The access log: one line per call, nothing of its content, and never in the way of a call."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.access_log import BATCH, AccessLog
from model_serving.proxy.settings import ProcessSettings, SettingsError
from model_serving.usage_record import UsageRecord, parse_line
from tests.fakes.upstream import FakeUpstream, Received, events_of, raw, silence, whole
from tests.proxy.harness import AUTH, SECRET, TOKEN, Files, Running, call, chat, proxy, request_bytes, until
from tests.proxy.processes import PROXY, start

RECORD = UsageRecord(ts="2026-01-31T08:00:00.000Z", id="1", status=200, ms=1.5)
PATH = "/serving-endpoints/ep/invocations"


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    open_now = {reading, writing}

    try:
        yield reading, writing
    finally:
        for fd in open_now:
            try:
                os.close(fd)
            except OSError:
                pass


class Reader:
    """Reads a pipe to its end from a thread."""

    def __init__(self, fd: int) -> None:
        self.data = b""
        self._fd = fd
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := os.read(self._fd, 65536):
            self.data += data

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.splitlines()]

    def all(self, writing: int) -> list[dict[str, Any]]:
        """Everything, once nobody writes any more."""
        os.close(writing)
        self._thread.join(10)
        return self.records


# The writer


def test_lines_come_with_the_next_flush_and_all_of_them_at_the_end() -> None:
    with pipe() as (reading, writing):
        reader, log = Reader(reading), AccessLog(writing)
        log.write(RECORD)
        log.flush()
        log.flush()
        log.write(RECORD)
        log.close()
        assert reader.all(writing) == [
            {"type": "call", "ts": RECORD.ts, "id": "1", "status": 200, "ms": 1.5},
        ] * 2  # fmt: skip
        assert (log.lines, log.dropped) == (2, 0)


def test_many_lines_do_not_wait_for_a_flush() -> None:
    with pipe() as (reading, writing):
        reader, log = Reader(reading), AccessLog(writing)
        for _ in range(BATCH):
            log.write(RECORD)
        deadline = time.monotonic() + 10
        while len(reader.data.splitlines()) < BATCH and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(reader.records) == BATCH


def test_a_reader_that_stalls_costs_lines_but_neither_time_nor_memory() -> None:
    with pipe() as (reading, writing):
        log = AccessLog(writing, waiting_bytes=100_000)
        for _ in range(40 * BATCH):
            log.write(RECORD)
        assert log.dropped > 0
        assert log._queue.qsize() <= 10
        reader = Reader(reading)
        log.close(10)
        assert len(reader.all(writing)) == log.lines == 40 * BATCH - log.dropped


def test_a_reader_that_never_comes_back_does_not_hold_up_the_end() -> None:
    with pipe() as (_, writing):
        log = AccessLog(writing)
        for _ in range(20 * BATCH):
            log.write(RECORD)
        begin = time.monotonic()
        log.close(0.2)
        assert time.monotonic() - begin < 5


def test_a_reader_that_is_gone_costs_lines_only() -> None:
    with pipe() as (reading, writing):
        os.close(reading)
        log = AccessLog(writing)
        log.write(RECORD)
        log.close()
        assert (log.lines, log.dropped) == (0, 1)


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing() -> None:
    with pipe() as (reading, writing):
        os.set_blocking(writing, False)
        log = AccessLog(writing)
        for _ in range(8 * BATCH):
            log.write(RECORD)
        time.sleep(0.1)
        reader = Reader(reading)
        log.close(10)
        assert len(reader.all(writing)) == 8 * BATCH


# What stands in a line


class Logged:
    """A proxy whose access log is read."""

    def __init__(self, running: Running, reader: Reader) -> None:
        self.running = running
        self.reader = reader

    async def next(self) -> dict[str, Any]:
        """The only line that has come."""
        await until(lambda: self.reader.records)
        (record,) = self.reader.records
        return record


@pytest.fixture
async def logged(files: Files, upstream: FakeUpstream) -> AsyncIterator[Logged]:
    files.usual(upstream.base)
    with pipe() as (reading, writing):
        reader = Reader(reading)
        async with proxy(files, process=ProcessSettings(access_log_fd=writing)) as running:
            yield Logged(running, reader)
        os.close(writing)


async def test_a_call_is_one_line_with_its_facts(logged: Logged) -> None:
    headers = {"x-request-id": "mine-1", "user-agent": "OpenAI/Python 2.0"}
    answer = await chat(logged.running.port, headers=headers, client_request_id="job-7", usage_context={"team": "a"})
    record = await logged.next()
    assert record.pop("ms") >= 0
    assert record.pop("ts").endswith("Z")
    assert record.pop("bytes_in") > 0
    assert record.pop("bytes_out") == len(answer.body)
    assert record == {
        "type": "call",
        "id": "mine-1",
        "endpoint": "ep",
        "config_version": 3,
        "entity": "gpt",
        "provider": "openai",
        "model": "gpt-real",
        "task": "llm/v1/chat",
        "principal": "ada",
        "status": 200,
        "input_tokens": 7,
        "output_tokens": 4,
        "user_agent": "OpenAI/Python 2.0",
        "client_request_id": "job-7",
        "usage_context": {"team": "a"},
    }


async def test_a_stream_tells_when_its_first_byte_came(logged: Logged) -> None:
    await chat(logged.running.port, stream=True)
    record = await logged.next()
    assert record["stream"] is True
    assert 0 <= record.get("ttft_ms", 0) <= record["ms"]
    assert (record["input_tokens"], record["output_tokens"]) == (7, 4)


async def test_the_first_byte_is_that_of_the_first_event_not_of_the_head(
    logged: Logged, upstream: FakeUpstream
) -> None:
    async def hesitant(request: Received, writer: asyncio.StreamWriter) -> None:
        events = b"".join(events_of(request))
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(events))
        await asyncio.sleep(0.3)
        writer.write(events[:20])
        await asyncio.sleep(0.3)
        writer.write(events[20:])

    upstream.scripts.append(hesitant)
    await chat(logged.running.port, stream=True)
    record = await logged.next()
    assert 280 <= record["ttft_ms"] <= record["ms"] - 280


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        pytest.param({"authorization": ""}, b"{}", 401, "UNAUTHENTICATED", id="no credentials"),
        pytest.param({"authorization": "Bearer x"}, b"{}", 401, "UNAUTHENTICATED", id="an unknown token"),
        pytest.param({}, b"{", 400, "BAD_REQUEST", id="no JSON"),
        pytest.param({}, b"{}", 400, "INVALID_PARAMETER_VALUE", id="no messages"),
    ],
)
async def test_a_refused_call_is_a_line_too(
    logged: Logged, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    await call(logged.running.port, PATH, body, headers)
    record = await logged.next()
    assert (record["status"], record["error_code"]) == (status, code)
    assert "input_tokens" not in record


async def test_a_providers_error_is_told_with_its_entity(logged: Logged, upstream: FakeUpstream) -> None:
    upstream.scripts.append(whole(429, {"error": {"message": "slow down"}}))
    await chat(logged.running.port)
    record = await logged.next()
    assert (record["status"], record["error_code"], record["entity"]) == (429, "REQUEST_LIMIT_EXCEEDED", "gpt")


async def test_a_stream_that_breaks_tells_its_error(logged: Logged, upstream: FakeUpstream) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    upstream.scripts.append(raw(head + b'data: {"choices": []}\n\n', close=True))
    await chat(logged.running.port, stream=True)
    record = await logged.next()
    assert (record["status"], record["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")


async def test_a_client_that_leaves_is_a_line(logged: Logged, upstream: FakeUpstream) -> None:
    upstream.scripts.append(silence())
    _, writer = await asyncio.open_connection("127.0.0.1", logged.running.port)
    writer.write(request_bytes("POST", PATH, b'{"messages": [{"role": "user", "content": "x"}]}'))
    await until(lambda: upstream.requests)
    writer.close()
    record = await logged.next()
    assert (record["status"], record["error_code"]) == (499, "CANCELLED")


NASTY = 'x"\n{"type":"call","ts":"\u2028\x00\\'


async def test_what_clients_choose_is_bounded_and_stays_in_its_line(logged: Logged) -> None:
    await chat(
        logged.running.port,
        headers={"user-agent": "u" * 5000},
        client_request_id=NASTY + "y" * 5000,
        usage_context={NASTY: NASTY},
    )
    record = await logged.next()
    assert record["client_request_id"].startswith(NASTY)
    assert (len(record["client_request_id"]), len(record["user_agent"])) == (256, 256)
    assert record["usage_context"] == {NASTY: NASTY}


@pytest.mark.parametrize(
    "context",
    [{"a": 1}, ["a"], "a", {"a": "b" * 5000}, None],
    ids=["of numbers", "a list", "a text", "too long", "null"],
)
async def test_a_usage_context_of_another_kind_is_left_out(logged: Logged, context: Any) -> None:
    answer = await chat(logged.running.port, usage_context=context, client_request_id=5)
    record = await logged.next()
    assert answer.status == 200
    assert "usage_context" not in record and "client_request_id" not in record


async def test_content_and_secrets_are_in_no_line_and_on_no_page(logged: Logged, upstream: FakeUpstream) -> None:
    upstream.scripts.append(whole(500, {"error": {"message": f"answer-canary {SECRET}"}}))
    upstream.scripts.append(whole(200, {"choices": [{"message": {"content": "answer-canary"}}]}))
    port = logged.running.port
    for stream in (False, False, True):
        await chat(port, messages=[{"role": "user", "content": "prompt-canary"}], stream=stream)
    await chat(port, headers={"authorization": "Bearer token-canary"})
    await call(port, PATH + "?key=query-canary", {"messages": []}, {"x-canary": "header-canary"})
    await until(lambda: len(logged.reader.records) == 5)
    pages = [
        (await call(logged.running.admin_port, page)).body for page in ("/metrics", "/status", "/usage", "/readyz")
    ]
    everything = b"".join([logged.reader.data, *pages]).decode()
    assert "canary" not in everything and TOKEN not in everything and AUTH not in everything


# Processes


def read_rest(fd: int) -> bytes:
    data = b""
    while piece := os.read(fd, 65536):
        data += piece
    return data


async def test_the_log_follows_the_ports_on_stdout_and_is_whole_at_the_end(
    files: Files, upstream: FakeUpstream, tmp_path: Path
) -> None:
    files.usual(upstream.base)
    with start(PROXY, tmp_path / "log", ROOT=str(files.root)) as child:
        await asyncio.to_thread(child.wait_ready)
        for _ in range(300):  # more than a pipe holds: nobody reads it, and nobody waits
            assert (await chat(child.port)).status == 200
        child.terminate()
        assert child.process.stdout is not None
        lines = (await asyncio.to_thread(read_rest, child.process.stdout.fileno())).splitlines()
        assert await asyncio.to_thread(child.wait) == 0
    records = [parse_line(line) for line in lines]
    assert len(records) == 300 and all(record is not None and record.status == 200 for record in records)


async def test_the_log_can_be_switched_off(files: Files, upstream: FakeUpstream, tmp_path: Path) -> None:
    files.usual(upstream.base)
    with start(PROXY, tmp_path / "log", ROOT=str(files.root), ACCESS_LOG="off") as child:
        await asyncio.to_thread(child.wait_ready)
        assert (await chat(child.port)).status == 200
        child.terminate()
        assert child.process.stdout is not None
        assert await asyncio.to_thread(read_rest, child.process.stdout.fileno()) == b""


def test_the_setting_is_on_or_off() -> None:
    assert ProcessSettings.from_environ({}).access_log_fd == 1
    assert ProcessSettings.from_environ({"MODEL_SERVING_ACCESS_LOG": "off"}).access_log_fd is None
    with pytest.raises(SettingsError, match="MODEL_SERVING_ACCESS_LOG has the value 'maybe': it must be on or off"):
        ProcessSettings.from_environ({"MODEL_SERVING_ACCESS_LOG": "maybe"})


# Reading lines back


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param(b'{"type":"call","ts":"t","id":"1","status":200,"ms":1}', True, id="a line"),
        pytest.param(b'[pod/x/proxy] 2026-01-31T08Z {"type":"call","ts":"t","id":"1","status":200,"ms":1}\n', True,
                     id="with what kubectl puts before it"),
        pytest.param(b'{"type":"call","ts":"t","id":"1","status":200,"ms":1,"new":[1]}', True, id="of a later release"),
        pytest.param(b'{"type":"call","ts":"t","id":"1","sta', False, id="cut off"),
        pytest.param(b'{"type":"call","ts":5,"id":"1","status":200,"ms":1}', False, id="of another shape"),
        pytest.param(b'{"type":"call","ts":"\xff","id":"1","status":200,"ms":1}', False, id="not text"),
        pytest.param(b'{"listening": 8080, "admin": 8081}', False, id="the ports"),
        pytest.param(b"", False, id="empty"),
    ],
)  # fmt: skip
def test_lines_are_read_back(line: bytes, found: bool) -> None:
    assert (parse_line(line) is not None) is found
