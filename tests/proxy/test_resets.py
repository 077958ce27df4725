"""Connections that are reset at every byte: of a call, of its answer, of a stream, by the client and by the provider.

Nobody crashes, everybody is told what can be told, and nothing is left: no call, no connection, no buffered byte, no
reservation of a limit.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from model_serving.proxy_config import Limit
from tests.fuzz import oracle
from tests.proxy.harness import Files, Running, chat, proxy, request_bytes, until

PATH = "/serving-endpoints/ep/invocations"
AT_ONCE = 40
PLENTY = 10**9
USAGE = b'"usage":{"prompt_tokens":3,"completion_tokens":2}'
WHOLE = b'{"id":"x","choices":[{"message":{"content":"hello"}}],%b}' % USAGE
EVENTS = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[{"delta":{}}],%b}\n\n' % USAGE
DONE = b"data: [DONE]\n\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(
    b"%x\r\n%b\r\n" % (len(part), part) for part in (EVENTS, DONE)
)
PADDING = "x" * 200_000
LARGE = WHOLE.replace(b"hello", PADDING.encode())
ANSWERS = {
    "whole": SIZED,
    "stream": CHUNKED + b"0\r\n\r\n",
    "large": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(LARGE), LARGE),
}
MOST = 200
"""Places in a large message, whose memory is counted: a small one is cut at every byte."""


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def call_of(number: int, kind: str) -> bytes:
    """A call whose prompt holds a number."""
    content = f"number {number};" + (PADDING if kind == "large" else "")
    body = {"messages": [{"role": "user", "content": content}], "stream": kind == "stream", "user": kind}
    return request_bytes("POST", PATH, json.dumps(body).encode())


@dataclass
class Provider:
    """Does with each call what the test's `plan` says, by the number in the prompt."""

    plan: str = "answer"
    """answer | reset (after so many bytes of the answer) | stall (then)."""
    port: int = 0
    open: int = 0
    said: dict[int, asyncio.Event] = field(default_factory=dict)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head)
            assert size
            body = await reader.readexactly(int(size[1]))
            found = re.search(rb"number (\d+);", body)
            number = int(found[1]) if found else 0
            kind = re.search(rb'"user": ?"([a-z]+)"', body)
            answer = ANSWERS[kind[1].decode() if kind else "whole"]
            if self.plan == "answer":
                writer.write(answer)
                continue
            writer.write(answer[:number])
            await writer.drain()
            await asyncio.sleep(0.02)  # so that what was written has arrived: RST overtakes it
            if self.plan == "reset":
                reset(writer)
                return
            self.said[number].set()
            await reader.read()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    listener = await asyncio.start_server(provider.accept, "127.0.0.1", 0, backlog=1024)
    provider.port = listener.sockets[0].getsockname()[1]
    yield provider
    listener.close()


@pytest.fixture
async def limited(files: Files, provider: Provider) -> AsyncIterator[Running]:
    files.usual(f"http://127.0.0.1:{provider.port}/v1", limits=[Limit("user", PLENTY), Limit("user", tokens=PLENTY)])
    async with proxy(files) as running:
        yield running


def places(message: bytes) -> range:
    """Where a message is cut."""
    return range(0, len(message), 1 if len(message) < len(PADDING) else len(message) // MOST)


async def _each(numbers: range, what: object) -> list[bytes]:
    """Runs `what(number)` for all numbers, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> bytes:
        async with gate, asyncio.timeout(30):
            return await what(number)  # type: ignore[operator]

    return await asyncio.gather(*(one(number) for number in numbers))


async def _nothing_is_left(running: Running) -> None:
    service = running.service
    await until(lambda: not service.data.connections, 20)
    await until(lambda: not len(service.pipeline.in_flight), 20)
    assert service.data.buffered == 0
    assert service.pipeline.limiter.reserved == 0
    assert not service.data.busy


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    while not oracle.read_answer(bytes(received), ended=False).messages:
        piece = await reader.read(1 << 16)
        if not piece:
            break
        received += piece
    return bytes(received)


@pytest.mark.parametrize("kind", ANSWERS)
async def test_the_client_resets_at_each_byte_of_its_call(limited: Running, provider: Provider, kind: str) -> None:
    call = call_of(0, kind)

    async def send(size: int) -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", limited.port)
        writer.write(call[:size])
        await writer.drain()
        await asyncio.sleep(0.005 if size % 2 else 0)  # before and after the proxy has read it
        reset(writer)
        return b""

    await _each(places(call + b" "), send)
    await _nothing_is_left(limited)
    assert (await chat(limited.port)).status == 200


@pytest.mark.parametrize("kind", ANSWERS)
async def test_the_client_resets_at_each_byte_of_its_answer(limited: Running, provider: Provider, kind: str) -> None:
    provider.plan = "stall"
    sizes = places(ANSWERS[kind])
    provider.said = {size: asyncio.Event() for size in sizes}

    async def leave(size: int) -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", limited.port)
        writer.write(call_of(size, kind))
        await provider.said[size].wait()
        reset(writer)
        return b""

    await _each(sizes, leave)
    await _nothing_is_left(limited)
    await until(lambda: provider.open == 0)  # the provider need not go on
    provider.plan = "answer"
    assert (await chat(limited.port)).status == 200


@pytest.mark.parametrize("kind", ANSWERS)
async def test_the_provider_resets_at_each_byte_of_its_answer(limited: Running, provider: Provider, kind: str) -> None:
    provider.plan = "reset"
    answer = ANSWERS[kind]

    async def ask(size: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", limited.port)
        writer.write(call_of(size, kind))
        received = await _until_closed(reader)
        writer.close()
        return received

    sizes = places(answer)
    for size, received in zip(sizes, await _each(sizes, ask), strict=True):
        found = oracle.read_answer(received, ended=True)
        assert len(found.messages) == 1, (size, received)
        message = found.messages[0]
        marked = DONE in oracle.body_so_far(answer[:size])
        if message.start == (b"503",):
            assert not oracle.body_so_far(answer[:size]) or kind != "stream", (size, received)
        else:
            assert (kind, message.start) == ("stream", (b"200",)), (size, received)
            assert (DONE in message.body) <= marked, (size, received)
            assert DONE in message.body or b'"error"' in message.body, (size, received)
    await _nothing_is_left(limited)
    await until(lambda: provider.open == 0)


async def test_the_provider_resets_at_each_byte_of_the_request(files: Files) -> None:
    whole = 0  # bytes of a request

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal whole, size
        received = b""
        while len(received) < size and not oracle.read_requests(received).messages:
            received += await reader.read(size - len(received))
        if len(received) < size:
            whole = len(received)
        size += 1
        reset(writer)

    size = 0
    listener = await asyncio.start_server(deaf, "127.0.0.1", 0)
    files.usual(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1", limits=[Limit("user", PLENTY)])
    async with proxy(files) as running:
        while not whole:
            answer = await chat(running.port)
            assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        await _nothing_is_left(running)
    assert size > whole > 200
    listener.close()
