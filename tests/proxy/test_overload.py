"""More than can be served is refused at once; whoever leaves makes room; what was sent is never sent again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from model_serving.proxy.http.pool import PoolSettings
from model_serving.proxy.settings import ProcessSettings
from model_serving.proxy_config import Limit
from tests.fakes.upstream import FakeUpstream, Received, raw, silence
from tests.proxy.harness import MESSAGES, Files, Running, chat, proxy, request_bytes, until

PATH = "/serving-endpoints/ep/invocations"
BODY = json.dumps({"messages": MESSAGES}).encode()


async def hang(running: Running) -> asyncio.StreamWriter:
    """A call whose client waits."""
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request_bytes("POST", PATH, BODY))
    return writer


def pool(running: Running) -> Any:
    service: Any = running.service
    return service._pool


def in_flight(running: Running) -> int:
    service: Any = running.service
    return len(service.pipeline.in_flight)


async def test_more_calls_than_allowed_at_once_are_429_at_once(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    upstream.scripts += [silence(), silence()]
    async with proxy(files, process=ProcessSettings(max_in_flight=2)) as running:
        writers = [await hang(running) for _ in range(2)]
        await until(lambda: len(upstream.requests) == 2)
        refused = await asyncio.wait_for(chat(running.port), 5)
        assert (refused.status, refused.json["error_code"]) == (429, "RESOURCE_EXHAUSTED")
        assert refused.headers["retry-after"] == "1"
        writers[0].close()
        await until(lambda: in_flight(running) == 1)
        assert (await chat(running.port)).status == 200
        writers[1].close()


async def test_calls_wait_for_a_connection_and_too_many_are_503_at_once(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, limits=[Limit("endpoint", 100)])
    upstream.scripts.append(silence())
    async with proxy(files, upstream=PoolSettings(connections=1, waiting=1)) as running:
        first = await hang(running)
        await until(lambda: len(upstream.requests) == 1)
        second = await hang(running)
        await until(lambda: pool(running).state() == (1, 1))
        refused = await asyncio.wait_for(chat(running.port), 5)
        assert (refused.status, refused.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert int(refused.headers["retry-after"]) >= 1
        assert "more wait already" in refused.json["message"]

        second.close()  # who leaves the queue makes room in it
        await until(lambda: pool(running).state() == (1, 0))
        third = asyncio.create_task(chat(running.port))
        await until(lambda: pool(running).state() == (1, 1))
        first.close()  # who leaves in mid-call makes room for the next
        assert (await third).status == 200
        assert len(upstream.requests) == 2
        await until(lambda: in_flight(running) == 0)


async def test_a_call_that_waits_too_long_for_a_connection_is_503(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    upstream.scripts.append(silence())
    async with proxy(files, upstream=PoolSettings(connections=1, wait_seconds=0.2)) as running:
        first = await hang(running)
        await until(lambda: len(upstream.requests) == 1)
        late = await chat(running.port)
        assert (late.status, late.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert "became free within 0.2 s" in late.json["message"]
        first.close()


async def test_a_client_that_leaves_during_the_connect_leaves_nothing(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    async with proxy(files) as running:
        gate = asyncio.Event()
        dialler = pool(running)._dialler
        reach = dialler._open

        async def slow(*arguments: Any) -> Any:
            await gate.wait()
            return await reach(*arguments)

        dialler._open = slow
        writer = await hang(running)
        await until(lambda: pool(running).state() == (1, 0))
        writer.close()
        await until(lambda: in_flight(running) == 0 and pool(running).state() == (0, 0))
        gate.set()
        assert (await chat(running.port)).status == 200
        assert len(upstream.requests) == 1


async def test_a_request_that_met_a_closing_connection_is_not_sent_again(
    running: Running, upstream: FakeUpstream
) -> None:
    assert (await chat(running.port)).status == 200
    upstream.scripts.append(raw(close=True))
    answer = await chat(running.port)
    assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert (upstream.connections, len(upstream.requests)) == (1, 2), "the second went over the first one's connection"
    assert (await chat(running.port)).status == 200


async def test_a_connection_that_the_upstream_closed_is_replaced_before_anything_is_sent(
    running: Running, upstream: FakeUpstream
) -> None:
    async def answer_and_close(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    upstream.scripts.append(answer_and_close)
    assert (await chat(running.port)).status == 200
    await until(lambda: pool(running).state() == (0, 0))
    assert (await chat(running.port)).status == 200
    assert (upstream.connections, len(upstream.requests)) == (2, 2)


async def test_a_client_that_leaves_with_requests_waiting_ends_its_call_too(
    files: Files, upstream: FakeUpstream
) -> None:
    files.usual(upstream.base)
    upstream.scripts.append(silence())
    async with proxy(files) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(request_bytes("POST", PATH, BODY) * 3)
        await until(lambda: len(upstream.requests) == 1)
        writer.close()
        await until(lambda: in_flight(running) == 0 and not running.service.data.connections)
        assert len(upstream.requests) == 1
