"""Crowds at a real proxy process, from clients in another: idle ones, slow ones, and a thousand streams at once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.http.server import ServerLimits
from tests.fakes.upstream import FakeUpstream, Received, event, raw
from tests.proxy.crowd import PAUSE_SECONDS as DRIP_SECONDS
from tests.proxy.harness import Files, chat, request_bytes, until
from tests.proxy.processes import PROXY, Child, start

pytestmark = pytest.mark.slow
IDLE = 10_000
SLOW = 400
STREAMS = 1000
EVENTS = 12
PAUSE_SECONDS = 0.5
ENOUGH_SECONDS = 150


@pytest.fixture
async def child(files: Files, upstream: FakeUpstream, tmp_path: Path) -> AsyncIterator[Child]:
    files.usual(upstream.base)
    environment = {"ROOT": str(files.root), "MAX_CONNECTIONS": str(IDLE + 500), "ACCESS_LOG": "off"}
    with start(PROXY, tmp_path / "log", **environment) as child:
        await asyncio.to_thread(child.wait_ready)
        yield child
        log = child.log.read_text()
        assert "Traceback" not in log, log[-4000:]


class Crowd:
    """The clients' process. Use as an async context manager."""

    def __init__(self, kind: str, port: int, number: int) -> None:
        self._arguments = [sys.executable, "-m", "tests.proxy.crowd", kind, str(port), str(number)]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Crowd:
        pipe = asyncio.subprocess.PIPE
        root = Path(__file__).parents[2]
        self._process = await asyncio.create_subprocess_exec(*self._arguments, stdin=pipe, stdout=pipe, cwd=root)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def says(self) -> dict[str, Any]:
        """The next line."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), ENOUGH_SECONDS)
        return dict(json.loads(line))

    def tell(self) -> None:
        """What it waits for."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")


def memory(child: Child) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{child.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def files_open(child: Child) -> int:
    """Files and sockets of a process."""
    return len(os.listdir(f"/proc/{child.process.pid}/fd"))


async def test_ten_thousand_idle_connections_hinder_nobody(child: Child) -> None:
    assert (await chat(child.port)).status == 200
    files_before, before = files_open(child), memory(child)
    async with Crowd("idle", child.port, IDLE) as crowd:
        assert await crowd.says() == {"connected": IDLE}
        await until(lambda: files_open(child) >= files_before + IDLE - 5, 30)  # a few of before may have been closed
        each = (memory(child) - before) / IDLE
        for _ in range(20):
            assert (await chat(child.port)).status == 200
        print(f"{IDLE} idle connections: {each / 1024:.2f} KiB each, {memory(child) >> 20} MiB in all")
        assert each < 16 * 1024
        crowd.tell()
        assert (await crowd.says())["still open"] == IDLE
    await until(lambda: files_open(child) <= files_before + 5, 30)
    assert (await chat(child.port)).status == 200


async def test_slow_callers_are_ended_while_others_are_served(child: Child) -> None:
    files_before = files_open(child)
    limits = ServerLimits()
    async with Crowd("slow", child.port, SLOW) as crowd:
        await crowd.says()
        telling = asyncio.create_task(crowd.says())
        served = 0
        while not telling.done():
            assert (await chat(child.port)).status == 200
            served += 1
            await asyncio.wait([telling], timeout=0.5)
        ends = await telling
    print(f"{SLOW} slow callers: {ends}, {served} others served")
    # A body of 52 bytes drips through in time, a head of 130 does not.
    assert limits.body_seconds > 60 * DRIP_SECONDS
    assert limits.head_seconds < 120 * DRIP_SECONDS
    assert ends == {"408": SLOW // 2, "200": SLOW // 2}
    assert served > 10
    await until(lambda: files_open(child) <= files_before + 20, 30)


async def test_a_thousand_streams_at_once_are_complete_and_in_order(child: Child, upstream: FakeUpstream) -> None:
    begun = 0
    all_begun = asyncio.Event()

    async def numbered(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal begun
        name = request.json["messages"][0]["content"].removeprefix("stream ").removesuffix(";")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        begun += 1
        if begun == STREAMS:
            all_begun.set()
        await asyncio.wait_for(all_begun.wait(), ENOUGH_SECONDS)
        for number in range(EVENTS):
            item = event({"choices": [{"index": 0, "delta": {"content": f"{name}:{number}/{EVENTS}"}}]})
            writer.write(b"%x\r\n%b\r\n" % (len(item), item))
            await asyncio.sleep(PAUSE_SECONDS)
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    assert (await chat(child.port)).status == 200
    upstream.scripts = [numbered] * STREAMS
    os.sched_setaffinity(child.process.pid, {0})
    before = memory(child)
    async with Crowd("streams", child.port, STREAMS) as crowd:
        await crowd.says()
        await asyncio.wait_for(all_begun.wait(), ENOUGH_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)
        each = (memory(child) - before) / STREAMS
        found = await crowd.says()
    print(f"{STREAMS} streams at once: {each / 1024:.1f} KiB each, {memory(child) >> 20} MiB in all")
    assert found == {"complete": STREAMS, "faults": {}}
    assert each < 64 * 1024
    assert (await chat(child.port)).status == 200


async def test_a_head_of_a_megabyte_is_refused_without_holding_it(child: Child) -> None:
    before = memory(child)

    async def shout(form: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", child.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n")
        try:
            for _ in range(1024):
                writer.write(form)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 15)
        except ConnectionError:
            return b"HTTP/1.1 431 unread"  # refused and closed while we were still shouting
        finally:
            writer.close()

    one, many = b"X: " + b"a" * 1021, b"X: %b\r\n" % (b"a" * 1019)
    answers = await asyncio.gather(*(shout(one[3:] if number % 2 else many) for number in range(60)))
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 431"}
    grown = memory(child) - before
    print(f"60 heads of a megabyte: {grown / 2**20:.1f} MiB more")
    assert grown < 20 << 20


async def test_memory_stays_flat_under_resets_and_lies(child: Child, upstream: FakeUpstream) -> None:
    whole = request_bytes("POST", "/serving-endpoints/ep/invocations", b'{"messages": [], "stream": true}')

    async def lie(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", child.port)
        writer.write(whole[: number % (len(whole) + 1)])
        await asyncio.sleep(0.002 * (number % 3))
        writer.transport.abort()

    async def rounds(number: int) -> int:
        for first in range(0, number, 50):
            upstream.scripts = [raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", abort=True)] * 5
            await asyncio.gather(*(lie(each) for each in range(first, first + 50)), chat(child.port))
        return memory(child)

    found = [await rounds(1500) for _ in range(8)]
    print("memory after each 1500 resets:", *(f"{size / 2**20:.1f}" for size in found))
    assert found[-1] - found[3] < 3 << 20
    upstream.scripts.clear()
    await until(lambda: files_open(child) < 40, 20)
    assert (await chat(child.port)).status == 200
