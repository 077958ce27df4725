"""Bad HTTP at the data port: the right status and body, and the process goes on serving."""

from __future__ import annotations

import asyncio
import json

import pytest

from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.server import Server, ServerLimits, listen
from model_serving.proxy.refusals import refusal_body
from model_serving.proxy.settings import ProcessSettings
from tests.fakes.upstream import FakeUpstream, silence
from tests.proxy.harness import AUTH, MESSAGES, Files, Running, chat, proxy, read_answer, request_bytes, talk, until

PATH = "/serving-endpoints/ep/invocations"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: t\r\nAuthorization: {AUTH}\r\n".encode()
BODY = json.dumps({"messages": MESSAGES}).encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def length(body: bytes = BODY) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(HEAD + length() + CHUNKED + b"\r\n" + BODY, 400, id="length and chunked together"),
        pytest.param(HEAD + CHUNKED + length() + b"\r\n0\r\n\r\n", 400, id="chunked and length together"),
        pytest.param(HEAD + length() + b"Content-Length: 3\r\n\r\n" + BODY, 400, id="two different lengths"),
        pytest.param(HEAD + length() + length() + b"\r\n" + BODY, 400, id="the same length twice"),
        pytest.param(HEAD + b"Content-Length: +5\r\n\r\n{...}", 400, id="a signed length"),
        pytest.param(HEAD + b"Content-Length: -5\r\n\r\n", 400, id="a negative length"),
        pytest.param(HEAD + CHUNKED + b"\r\nzz\r\n", 400, id="a chunk size that is none"),
        pytest.param(HEAD + CHUNKED + b"\r\n3\r\nabcX\r\n0\r\n\r\n", 400, id="a chunk longer than it says"),
        pytest.param(HEAD + CHUNKED + b"\r\nfffffffffffffffff\r\n", 400, id="a chunk size that overflows"),
        pytest.param(HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400, id="a coding that is not chunked"),
        pytest.param(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, id="two codings"),
        pytest.param(HEAD + b"X: a\r\n b\r\n" + length() + b"\r\n" + BODY, 400, id="a folded header"),
        pytest.param(HEAD.replace(b"\r\n", b"\n") + length() + b"\n" + BODY, 400, id="bare line feeds"),
        pytest.param(HEAD + b"X: a\n" + length() + b"\r\n" + BODY, 400, id="one bare line feed"),
        pytest.param(HEAD + b"X : a\r\n\r\n", 400, id="a blank before the colon"),
        pytest.param(HEAD + b"X: a\0b\r\n\r\n", 400, id="a zero byte in a header"),
        pytest.param(HEAD + b"Authorization: Bearer x\r\n" + length() + b"\r\n" + BODY, 400, id="two authorizations"),
        pytest.param(HEAD + b"Host: u\r\n" + length() + b"\r\n" + BODY, 400, id="two hosts"),
        pytest.param(f"POST {PATH} HTTP/1.1\r\n\r\n".encode(), 400, id="no host"),
        pytest.param(f"POST {PATH} HTTP/1.2\r\nHost: t\r\n\r\n".encode(), 400, id="an unknown version"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2 without asking"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="CONNECT"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="a TLS hello"),
        pytest.param(b"\0" * 64, 400, id="zeroes"),
        pytest.param(HEAD + b"X: " + b"a" * 40000 + b"\r\n\r\n", 431, id="a header larger than 32 KiB"),
        pytest.param(HEAD + b"X: " + b"a" * 40000, 431, id="a header that never ends"),
        pytest.param(b"POST /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 431, id="a path larger than 32 KiB"),
        pytest.param(HEAD + b"".join(b"X-%d: a\r\n" % i for i in range(101)) + b"\r\n", 431, id="too many headers"),
        pytest.param(HEAD + b"Content-Length: 5000000\r\n\r\n{", 413, id="a length above the limit"),
        pytest.param(HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n{", 400, id="a length that overflows"),
        pytest.param(
            HEAD + CHUNKED + b"\r\n" + b"100000\r\n" + b"a" * 0x100000 + b"\r\n" + b"400000\r\n" + b"a" * 0x310000,
            413,
            id="chunks above the limit",
        ),
        pytest.param(HEAD + b"Expect: 200-ok\r\n" + length() + b"\r\n" + BODY, 417, id="an unknown expectation"),
    ],
)
async def test_bad_http_is_refused_once_and_the_connection_ends(running: Running, raw: bytes, status: int) -> None:
    answer = await talk(running.port, raw + b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n" * (status == 400))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in head
    parsed = json.loads(body)
    assert parsed["error_code"] == "INVALID_PARAMETER_VALUE"
    assert parsed["message"]
    assert (await chat(running.port)).status == 200


async def test_a_request_byte_by_byte_is_understood(running: Running) -> None:
    raw = HEAD + b"Connection: close\r\n" + length() + b"\r\n" + BODY
    answer = await talk(running.port, *(raw[i : i + 1] for i in range(len(raw))), pause=0)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_chunked_request_with_extensions_and_trailers_is_understood(
    running: Running, upstream: FakeUpstream
) -> None:
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in BODY) + b"0\r\nAuthorization: Bearer x\r\n\r\n"
    answer = await talk(running.port, HEAD + b"Connection: close\r\n" + CHUNKED + b"\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert upstream.requests[0].json["messages"] == MESSAGES


async def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    one = HEAD + length() + b"\r\n" + BODY
    other = b"GET /nothing HTTP/1.1\r\nHost: t\r\n\r\n"
    last = HEAD + b"Connection: close\r\n" + length() + b"\r\n" + BODY
    answer = await talk(running.port, one + other + one + last)
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200", b"200"]


async def test_thousands_of_pipelined_requests_do_not_exhaust_the_stack(running: Running) -> None:
    one = b"GET /nothing HTTP/1.1\r\nHost: t\r\n\r\n"
    first = HEAD + length() + b"\r\n" + BODY  # all others wait for it
    last = b"GET /nothing HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    answer = await talk(running.port, first + one * 3000 + last, wait=30)
    assert answer.count(b"HTTP/1.1 404") == 3001


async def test_garbage_behind_a_good_request_is_refused_after_its_answer(running: Running) -> None:
    answer = await talk(running.port, HEAD + length() + b"\r\n" + BODY + b"\0\0\0\0")
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"400"]


async def test_expect_100_continue_is_answered_before_the_body(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(HEAD + b"Expect: 100-continue\r\n" + length() + b"\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_a_body_too_large_is_refused_without_100_continue(running: Running) -> None:
    answer = await talk(running.port, HEAD + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_http_1_0_gets_an_answer_that_ends_with_the_connection(running: Running) -> None:
    raw = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + length() + b"\r\n" + BODY
    answer = await talk(running.port, raw)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"The model is serving." in answer


@pytest.mark.parametrize(
    ("more", "behind"),
    [
        pytest.param(b"", b"", id="alone"),
        pytest.param(b"", b"\0", id="garbage behind it"),
        pytest.param(b"Connection: keep-alive\r\n", b"", id="asking to keep the connection"),
        pytest.param(b"Connection: keep-alive\r\n", b"GET / HTTP/1.0\r\n\r\n", id="another request behind it"),
    ],
)
async def test_http_1_0_gets_a_stream_without_chunks_that_ends_with_the_connection(
    running: Running, more: bytes, behind: bytes
) -> None:
    body = json.dumps({"messages": MESSAGES, "stream": True}).encode()
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + more
    answer = await talk(running.port, head + length(body) + b"\r\n" + body + behind)
    head, _, events = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


async def test_head_requests_get_no_body(running: Running) -> None:
    answer = await talk(running.port, b"HEAD /x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert body == b""


async def test_the_absolute_form_of_a_target_is_understood(running: Running) -> None:
    raw = HEAD.replace(b"POST /", b"POST http://test/") + b"Connection: close\r\n" + length() + b"\r\n" + BODY
    assert (await talk(running.port, raw)).startswith(b"HTTP/1.1 200 ")


async def test_what_is_too_large_on_openais_routes_carries_openais_error(running: Running) -> None:
    head = b"POST /serving-endpoints/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 9999999\r\n\r\n"
    body = json.loads((await talk(running.port, head)).partition(b"\r\n\r\n")[2])
    assert body["error_code"] == body["error"]["code"] == "INVALID_PARAMETER_VALUE"


# Time and number, on a server of its own with small limits


def answer_ok(exchange: Exchange) -> None:
    exchange.respond(200, b"", b"ok")


async def _serve(limits: ServerLimits) -> tuple[Server, asyncio.Server, int]:
    server = Server(answer_ok, refusal_body, limits)
    server.sweep(asyncio.get_running_loop().time(), 0.0)
    listener = await listen(server, "127.0.0.1", 0)
    return server, listener, listener.sockets[0].getsockname()[1]


async def _after(server: Server, seconds: float) -> None:
    """Lets the server believe that time has passed."""
    await asyncio.sleep(0.05)
    server.sweep(asyncio.get_running_loop().time() + seconds, 0.0)


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(b"GET / HT", id="half a request line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: t\r\n", id="half a head"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab", id="half a body"),
    ],
)
async def test_what_comes_too_slowly_is_408(half: bytes) -> None:
    server, listener, port = await _serve(ServerLimits(head_seconds=5, body_seconds=5))
    talking = asyncio.create_task(talk(port, half))
    await until(lambda: server.connections)
    await _after(server, 6)
    assert (await talking).startswith(b"HTTP/1.1 408 ")
    listener.close()


async def test_a_drip_of_header_bytes_does_not_buy_time() -> None:
    server, listener, port = await _serve(ServerLimits(head_seconds=5))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n")
    await _after(server, 4)
    writer.write(b"X: a\r\n")
    await _after(server, 6)
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
    writer.close()
    listener.close()


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    server, listener, port = await _serve(ServerLimits(idle_seconds=5))
    talking = asyncio.create_task(talk(port))
    await until(lambda: server.connections)
    await _after(server, 6)
    assert await talking == b""
    listener.close()


async def test_an_old_connection_ends_with_its_next_answer() -> None:
    server, listener, port = await _serve(ServerLimits(connection_age_seconds=5))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    assert "connection" not in (await read_answer(reader)).headers
    await _after(server, 6)
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    assert (await read_answer(reader)).headers["connection"] == "close"
    writer.close()
    listener.close()


async def test_one_connection_too_many_gets_503_at_once() -> None:
    server, listener, port = await _serve(ServerLimits(connections=1))
    _, first = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: server.connections)
    answer = await talk(port)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    first.close()
    listener.close()


async def test_bodies_of_all_clients_together_are_bounded() -> None:
    server, listener, port = await _serve(ServerLimits(buffered_bytes=100))
    head = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 90\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"a" * 80)
    await until(lambda: server.buffered == 80)
    answer = await talk(port, head + b"a" * 80)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    assert b"TEMPORARILY_UNAVAILABLE" in answer
    assert server.buffered == 80
    writer.write(b"a" * 10)
    assert (await read_answer(reader)).status == 200
    assert server.buffered == 0
    writer.write(head + b"a" * 80)
    await until(lambda: server.buffered == 80)
    writer.close()
    await until(lambda: server.buffered == 0)
    listener.close()


async def test_a_fault_in_a_handler_is_500_and_the_server_goes_on() -> None:
    def fail(exchange: Exchange) -> None:
        if exchange.request.target == b"/bad":
            raise RuntimeError("canary-1")
        exchange.respond(200, b"", b"ok")

    server, listener, port = await _serve(ServerLimits())
    server.handler = fail
    answer = await talk(port, b"GET /bad HTTP/1.1\r\nHost: t\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"canary-1" not in answer
    good = await talk(port, b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    assert good.startswith(b"HTTP/1.1 200 ")
    listener.close()


async def test_more_calls_at_once_than_allowed_are_429(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    upstream.scripts.append(silence())
    async with proxy(files, process=ProcessSettings(max_in_flight=1)) as running:
        hanging = asyncio.create_task(chat(running.port))
        await until(lambda: upstream.requests)
        answer = await chat(running.port)
        assert (answer.status, answer.json["error_code"]) == (429, "RESOURCE_EXHAUSTED")
        assert int(answer.headers["retry-after"]) >= 1
        hanging.cancel()


async def test_a_client_with_a_request_split_over_connections_is_not_confused(running: Running) -> None:
    raw = request_bytes("POST", PATH, BODY, {"connection": "close"})
    answers = await asyncio.gather(*(talk(running.port, raw[:cut], raw[cut:]) for cut in (1, 20, 60, len(raw) - 1)))
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)


async def test_a_client_that_asks_much_and_reads_nothing_does_not_fill_the_memory() -> None:
    answered = 0

    def large(exchange: Exchange) -> None:
        nonlocal answered
        answered += 1
        exchange.respond(200, b"", b"x" * 1_000_000)

    server, listener, port = await _serve(ServerLimits())
    server.handler = large
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 200)
    before = -1
    while answered != before:
        before = answered
        await asyncio.sleep(0.3)
    assert answered < 50
    received = 0
    while received < 200 * 1_000_000:
        received += len(await asyncio.wait_for(reader.read(1 << 20), 10))
    assert answered == 200
    writer.close()
    listener.close()


async def test_a_large_answer_survives_a_slow_reader_and_a_closing_connection() -> None:
    server, listener, port = await _serve(ServerLimits(linger_seconds=1, stalled_write_seconds=5))
    server.handler = lambda exchange: exchange.respond(200, b"", b"x" * 20_000_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    received = b""
    for step in range(4):
        await _after(server, 6.0 * step)  # more than any deadline, but something was read in between
        for _ in range(60):
            received = received[-100:] + await asyncio.wait_for(reader.read(1 << 16), 10)
    assert received
    rest = 0
    while data := await asyncio.wait_for(reader.read(1 << 20), 10):
        rest += len(data)
    assert rest > 1_000_000
    writer.close()
    listener.close()


async def test_a_reader_that_stops_is_given_up() -> None:
    server, listener, port = await _serve(ServerLimits(stalled_write_seconds=5))
    server.handler = lambda exchange: exchange.respond(200, b"", b"x" * 50_000_000)
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    await until(lambda: server.connections)
    await _after(server, 6)
    await _after(server, 12)
    await until(lambda: not server.connections)
    writer.close()
    listener.close()
