"""Bodies that are shorter or longer than they say, and ends that do not come: one call is served or none.

Whatever a client says, a body counts only when it is complete, and what is behind it is a request of its own.
"""

from __future__ import annotations

import asyncio

import pytest

from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.server import Server, ServerLimits, listen
from model_serving.proxy.refusals import refusal_body
from model_serving.proxy_config import Limit
from tests.fakes.upstream import FakeUpstream
from tests.fuzz.stub import StubTransport
from tests.proxy.harness import AUTH, Files, chat, proxy, talk, until

HEAD = b"POST /serving-endpoints/ep/invocations HTTP/1.1\r\nHost: t\r\nAuthorization: %b\r\n" % AUTH.encode()
BODY = b'{"messages": [{"role": "user", "content": "hello"}]}'
CODED = b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = b"x" * 300_000


def sized(size: int, body: bytes = BODY) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % size + body


@pytest.mark.parametrize(
    ("raw", "served", "statuses"),
    [
        pytest.param(sized(len(BODY) + 1), 0, [], id="shorter than its length, and the client goes"),
        pytest.param(sized(300_001, LARGE), 0, [], id="a large one shorter than its length"),
        pytest.param(sized(len(BODY) - 1), 0, [400, 400], id="longer than its length: half a body, then no method"),
        pytest.param(sized(len(BODY), BODY + b"\0\0"), 1, [200, 400], id="zeroes behind its length"),
        pytest.param(sized(0), 0, [400, 400], id="a body where there is none"),
        pytest.param(HEAD + CODED + b"34\r\n" + BODY + b"\r\n", 0, [], id="chunks without an end"),
        pytest.param(HEAD + CODED + b"34\r\n" + BODY + b"\r\n0\r\n", 0, [], id="an end without its blank line"),
        pytest.param(HEAD + CODED + b"35\r\n" + BODY + b"\r\n0\r\n\r\n", 0, [400], id="a chunk shorter than it says"),
        pytest.param(HEAD + CODED + b"33\r\n" + BODY + b"\r\n0\r\n\r\n", 0, [400], id="a chunk longer than it says"),
        pytest.param(HEAD + CODED + b"fffff\r\n" + LARGE, 0, [], id="a large chunk shorter than it says"),
        pytest.param(HEAD + CODED + b"500000\r\n" + LARGE, 0, [413], id="a chunk that will be too large"),
        pytest.param(HEAD + CODED + b"1\r\n{\r\n" * 70_000, 0, [], id="chunks of a byte without an end"),
    ],
)
async def test_a_body_that_lies_is_served_once_or_never(
    files: Files, upstream: FakeUpstream, raw: bytes, served: int, statuses: list[int]
) -> None:
    files.usual(upstream.base, limits=[Limit("user", 100), Limit("user", tokens=10**6)])
    async with proxy(files) as running:
        answer = await _say_and_leave(running.port, raw)
        found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert found == statuses or (statuses == [413] and found == []), answer[:500]
        service = running.service
        await until(lambda: not service.data.connections)
        assert (len(upstream.requests), service.data.buffered, service.pipeline.limiter.reserved) == (served, 0, 0)
        assert (await chat(running.port)).status == 200


async def _say_and_leave(port: int, raw: bytes) -> bytes:
    """All that is answered until nothing more comes for a moment; then the client ends its side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(raw)
        while piece := await asyncio.wait_for(reader.read(1 << 16), 0.7):
            received += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return received


def _server(limits: ServerLimits) -> Server:
    def answer(exchange: Exchange) -> None:
        exchange.respond(200, b"", b"ok")

    server = Server(answer, refusal_body, limits)
    server.sweep(1.0, 0.0)
    return server


async def test_a_body_that_drips_is_ended_by_its_deadline_and_gives_its_memory_back() -> None:
    server = _server(ServerLimits(body_seconds=5))
    listener = await listen(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    talking = [asyncio.create_task(talk(port, sized(400_000, LARGE))) for _ in range(20)]
    await until(lambda: server.buffered >= 20 * len(LARGE))
    server.sweep(7.0, 0.0)
    assert {answer[:12] for answer in await asyncio.gather(*talking)} == {b"HTTP/1.1 408"}
    await until(lambda: not server.connections)
    assert server.buffered == 0
    listener.close()


@pytest.mark.parametrize("draining", [False, True])
def test_requests_behind_one_that_is_answered_last_are_not_read(draining: bool) -> None:
    server = _server(ServerLimits(connection_age_seconds=5, idle_seconds=1000))
    transport = StubTransport(server.connection())
    if draining:
        server.drain()
    else:
        server.sweep(100.0, 0.0)
    transport.arrive(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 3)
    assert transport.sent.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in transport.sent
    assert transport.finished
    transport.hang_up()
    assert not server.connections
