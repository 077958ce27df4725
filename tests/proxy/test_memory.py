"""The memory that all calls share: what counts, who gives way when it is full, and that nothing stays counted."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from model_serving.proxy.http.memory import SMALL_BYTES
from model_serving.proxy.settings import ProcessSettings
from tests.fakes.upstream import FakeUpstream, Received, raw, silence, stream, whole
from tests.proxy.harness import MESSAGES, Files, Running, call, chat, proxy, read_answer, request_bytes, until

EP = "/serving-endpoints/ep/invocations"
LARGE = 5 * SMALL_BYTES
BODY = json.dumps({"messages": MESSAGES, "padding": "x" * LARGE}).encode()


def with_room_for(files: Files, upstream: FakeUpstream, size: int) -> Running:
    files.usual(upstream.base)
    return proxy(files, process=ProcessSettings(max_buffered_bytes=size))


def held(running: Running) -> int:
    return running.service.data.memory.used


async def leave_hanging(running: Running, upstream: FakeUpstream) -> asyncio.StreamWriter:
    """A call with a large body that the upstream does not answer."""
    before = len(upstream.requests)
    upstream.scripts.append(silence())
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request_bytes("POST", EP, BODY))
    await until(lambda: len(upstream.requests) > before)
    return writer


async def test_the_body_of_a_call_counts_until_the_call_ends(files: Files, upstream: FakeUpstream) -> None:
    async with with_room_for(files, upstream, 2 * len(BODY) - 1) as running:
        writer = await leave_hanging(running, upstream)
        assert held(running) == len(BODY)
        refused = await call(running.port, EP, BODY)
        assert (refused.status, refused.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert refused.headers["retry-after"] == "1"
        assert len(upstream.requests) == 1
        assert (await chat(running.port)).status == 200, "small calls go on"
        writer.close()
        await until(lambda: held(running) == 0)
        assert (await call(running.port, EP, BODY)).status == 200
        await until(lambda: held(running) == 0)


async def test_an_answer_that_is_collected_counts_and_gives_way(files: Files, upstream: FakeUpstream) -> None:
    async with with_room_for(files, upstream, LARGE) as running:
        upstream.scripts.append(raw(*[b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n", *[b" " * LARGE] * 3]))
        answer = await chat(running.port)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert "as many bytes" in answer.json["message"]
        assert int(answer.headers["retry-after"]) >= 1
        assert held(running) == 0
        assert (await chat(running.port)).status == 200


async def test_what_slow_clients_have_not_taken_counts(files: Files, upstream: FakeUpstream) -> None:
    async with with_room_for(files, upstream, 4_000_000) as running:
        answer = json.dumps({"object": "chat.completion", "padding": "x" * 30_000_000}).encode()
        running.service.data.memory.limit = 100_000_000
        upstream.scripts.append(whole(200, answer))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(request_bytes("POST", EP, json.dumps({"messages": MESSAGES}).encode()))
        await until(lambda: running.service.data.memory.unsent > 10_000_000)
        running.service.data.memory.limit = 4_000_000
        assert (await call(running.port, EP, BODY)).status == 503
        await asyncio.wait_for(reader.readexactly(30_000_000), 15)
        await until(lambda: not running.service.data.memory.unsent)
        assert (await call(running.port, EP, BODY)).status == 200
        writer.close()


async def test_requests_that_wait_behind_another_count(files: Files, upstream: FakeUpstream) -> None:
    async with with_room_for(files, upstream, 100 * len(BODY)) as running:
        go_on = asyncio.Event()

        async def halting(received: Received, writer: asyncio.StreamWriter) -> None:
            await go_on.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        upstream.scripts.append(halting)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(request_bytes("POST", EP, BODY) * 2)
        await until(lambda: held(running) >= len(BODY) + SMALL_BYTES)
        go_on.set()
        assert [(await read_answer(reader)).status for _ in range(2)] == [200, 200]
        assert held(running) == 0
        writer.close()


async def dribbled(received: Received, writer: asyncio.StreamWriter) -> None:
    for piece in (b"HTTP/1.1 200 OK\r\ncontent-length: 60002\r\n\r\n", b"{", b" " * 60000, b"}"):
        writer.write(piece)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_mix_of_calls_nothing_is_counted(files: Files, upstream: FakeUpstream, seed: int) -> None:
    random_ = random.Random(seed)
    scripts: list[Any] = [
        raw(close=True), raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + b" " * 50000, abort=True),
        stream([b"data: {}\n\n"], end=False), whole(500, {"padding": "x" * 70000}), silence(0.2), dribbled,
        whole(200, {"padding": "x" * 300_000}),
    ]  # fmt: skip

    async def one(running: Running) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        size = random_.choice([10, LARGE, 400_000])
        body = {"messages": MESSAGES, "padding": "x" * size, "stream": random_.random() < 0.3}
        sent = request_bytes("POST", EP, json.dumps(body).encode())
        writer.write(sent[: random_.choice([len(sent), len(sent), len(sent) // 2])])
        await asyncio.sleep(random_.random() * 0.3)
        if random_.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()

    async with with_room_for(files, upstream, 3_000_000) as running:
        upstream.scripts += [random_.choice(scripts) for _ in range(60)]
        await asyncio.gather(*(one(running) for _ in range(40)))
        await until(lambda: not running.service.data.connections)
        pipeline = running.service.pipeline  # type: ignore[attr-defined]
        await until(lambda: not pipeline.in_flight)
        assert held(running) == 0


@pytest.mark.parametrize(
    ("environment", "megabytes"),
    [
        pytest.param({}, 256, id="nothing said"),
        pytest.param({"MEMORY_LIMIT_BYTES": str(256 << 20)}, 64, id="a third of what a container leaves"),
        pytest.param({"MEMORY_LIMIT_BYTES": str(8 << 30)}, 256, id="a large container"),
        pytest.param({"MEMORY_LIMIT_BYTES": str(64 << 20)}, 16, id="a small container"),
        pytest.param({"MEMORY_LIMIT_BYTES": str(1 << 30), "MAX_BUFFERED_BYTES": str(5 << 20)}, 5, id="set"),
    ],
)
def test_the_bound_follows_the_containers_memory(environment: dict[str, str], megabytes: int) -> None:
    settings = ProcessSettings.from_environ({f"MODEL_SERVING_{name}": value for name, value in environment.items()})
    assert settings.max_buffered_bytes == megabytes << 20
