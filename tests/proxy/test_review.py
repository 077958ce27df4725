"""What happens at awkward moments: between two files, behind another answer, after a fault of our own."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.http import server as http_server
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.server import Server, listen
from model_serving.proxy.providers.openai_dialect import OpenAIDialect
from model_serving.proxy.refusals import refusal_body
from model_serving.proxy.sse import PassThrough
from model_serving.proxy_config import CredentialFile, EntryState, Limit
from tests.fakes.upstream import FakeUpstream, Received, silence, whole
from tests.proxy.certificates import make_pair
from tests.proxy.harness import (
    MESSAGES,
    SECRET,
    Files,
    Running,
    chat,
    proxy,
    read_answer,
    request_bytes,
    talk,
    target,
    until,
)
from tests.proxy.test_router import AUTH, entry, router, set_table

EP = "/serving-endpoints/ep/invocations"
CALL = request_bytes("POST", EP, json.dumps({"messages": MESSAGES}).encode())
STREAM = request_bytes("POST", EP, json.dumps({"messages": MESSAGES, "stream": True}).encode())
TOKENS = Limit("endpoint", tokens=100_000)


async def test_a_401_whose_credential_is_no_longer_configured_is_answered(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    async with proxy(files) as running:

        async def replaced(received: Received, writer: asyncio.StreamWriter) -> None:
            files.secret("another", "vendor-2")
            files.config([target(upstream.base, credentials={"openai_api_key": CredentialFile("vendor-2", "token")})])
            await until(lambda: [c.file.secret for c in running.service.state.credentials.files()] == ["vendor-2"])
            await whole(401, {"error": {"message": f"Incorrect API key provided: {SECRET}"}})(received, writer)

        upstream.scripts.append(replaced)
        answer = await asyncio.wait_for(chat(running.port), 10)
        assert answer.status == 401
        assert SECRET.encode() not in answer.body
        assert (await chat(running.port)).status == 200


def broken(*_: object) -> Any:
    raise RuntimeError("a fault in this program")


@pytest.mark.parametrize("dribbled", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param((OpenAIDialect, "reply", False), id="in an answer"),
        pytest.param((OpenAIDialect, "stream", True), id="when a stream begins"),
        pytest.param((PassThrough, "feed", True), id="in a stream"),
        pytest.param((PassThrough, "close", True), id="at the end of a stream"),
    ],
)
async def test_a_fault_of_our_own_is_told_at_once_and_the_call_settled(
    files: Files, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, fault: tuple[Any, str, bool], dribbled: bool
) -> None:
    place, method, streamed = fault
    files.usual(upstream.base, [TOKENS])
    monkeypatch.setattr(place, method, broken)
    body = b"data: {}\n\ndata: [DONE]\n\n" if streamed else b'{"usage":{}}'
    kind = b"text/event-stream" if streamed else b"application/json"

    async def answer(received: Received, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))
        for piece in (head, body[:-3], body[-3:]) if dribbled else (head + body,):
            writer.write(piece)
            await asyncio.sleep(0.02 if dribbled else 0)

    upstream.scripts.append(answer)
    async with proxy(files) as running:
        answered = await asyncio.wait_for(chat(running.port, stream=streamed), 10)
        assert b"INTERNAL_ERROR" in answered.body
        assert b"[DONE]" not in answered.body
        assert not running.service.pipeline.in_flight
        assert running.service.pipeline.limiter.reserved == 0
        monkeypatch.undo()
        assert (await chat(running.port)).status == 200


async def test_a_parked_call_whose_client_has_left_is_not_sent(
    files: Files, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.usual(upstream.base, [TOKENS])
    async with proxy(files) as running:
        pipeline, again = running.service.pipeline, []
        monkeypatch.setattr(pipeline.limiter, "ledger", object())
        monkeypatch.setattr(pipeline.limiter, "sweep", lambda now: None)
        monkeypatch.setattr(running.service._limits, "follow", lambda *_: None)
        reserve = pipeline.limiter.reserve
        monkeypatch.setattr(pipeline.limiter, "reserve", lambda *asked: again.append(asked[-1]))
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(CALL)
        await until(lambda: again)
        monkeypatch.setattr(pipeline.limiter, "ledger", None)
        monkeypatch.setattr(pipeline.limiter, "reserve", reserve)
        parked = next(iter(pipeline._parked))
        writer.transport.abort()
        while not parked.exchange.done:
            await asyncio.sleep(0)
        again[0]()
        await asyncio.sleep(0.2)
        assert upstream.requests == []
        assert parked.call.status == 499


async def test_a_router_that_ends_ends_all_that_it_holds() -> None:
    async with router() as front:
        set_table(front, ep=entry(state=EntryState.STARTING))
        streams = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(3)]
        for _, writer in streams:
            writer.write(request_bytes("POST", EP, b"{}", AUTH) * 3)
        await until(lambda: len(front.service.pipeline._held) == 3)
        front.service.pipeline.abort()
        answers = await asyncio.gather(*(read_answer(reader) for reader, _ in streams))
        assert [answer.status for answer in answers] == [503] * 3
        for _, writer in streams:
            writer.close()


async def test_a_client_that_sent_garbage_behind_its_call_and_left_is_noticed(
    running: Running, upstream: FakeUpstream
) -> None:
    upstream.scripts.append(silence())
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(CALL + b"garbage\r\n\r\n")
    await until(lambda: len(upstream.requests) == 1)
    writer.close()
    await until(lambda: not running.service.pipeline.in_flight)


async def test_a_fault_after_the_answer_does_not_leave_the_next_request_without_one() -> None:
    def answer_and_break(exchange: Exchange) -> None:
        exchange.respond(200, b"", b"ok")
        broken()

    server = Server(answer_and_break, refusal_body)
    server.sweep(0.0, 0.0)
    listener = await listen(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    request = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    answers = await talk(port, request, last)
    assert answers.count(b"HTTP/1.1 200") == 2
    listener.close()


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's."""
    pair = make_pair(folder, "ours")
    (folder / "crt").write_bytes(pair.certificate)
    (folder / "key").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context, ssl.create_default_context(cadata=pair.certificate.decode())


@pytest.mark.parametrize("closing", [False, True])
async def test_a_large_answer_over_tls_survives_a_slow_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closing: bool
) -> None:
    monkeypatch.setattr(http_server, "SHUTDOWN_SECONDS", 0.5)
    server = Server(lambda exchange: exchange.respond(200, b"", b"x" * 20_000_000), refusal_body)
    server.sweep(0.0, 0.0)
    server.tls, trusting = contexts(tmp_path)
    listener = await listen(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    opened = asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost", limit=1 << 16)
    reader, writer = await opened
    end = b"Connection: close\r\n" if closing else b""
    writer.write(b"GET / HTTP/1.1\r\nHost: t\r\n%b\r\n" % end)
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(1.5)
    server.sweep(1.0, 0.0)
    assert server.busy, "who drains must wait"
    assert server.memory.unsent > 5_000_000
    assert len(await asyncio.wait_for(reader.readexactly(20_000_000), 20)) == 20_000_000
    await until(lambda: not server.busy)
    writer.close()
    await until(lambda: not server.connections)
    listener.close()


async def test_a_stream_behind_an_answer_that_is_not_taken_waits_for_the_client(
    files: Files, upstream: FakeUpstream, tmp_path: Path
) -> None:
    written = 0

    async def endless(received: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while written < 100_000_000:
            writer.write(b"data: %b\n\n" % (b"x" * 100_000))
            written += 100_000
            await writer.drain()

    large = whole(200, {"padding": "x" * 20_000_000})
    upstream.scripts += [large, endless]
    files.usual(upstream.base)
    running = proxy(files)
    running.service.data.tls, trusting = contexts(tmp_path)
    async with running:
        opened = asyncio.open_connection(
            "127.0.0.1", running.port, ssl=trusting, server_hostname="localhost", limit=1 << 16
        )
        _, writer = await opened
        writer.write(CALL + STREAM)
        await until(lambda: len(upstream.requests) == 2)
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.4)
        assert written < 50_000_000
        writer.transport.abort()
        await until(lambda: not running.service.pipeline.in_flight)
