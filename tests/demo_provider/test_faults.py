"""Faults by rate, and answers that break HTTP, as a raw socket sees them."""

from __future__ import annotations

import asyncio
import json
import time
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from model_serving.demo_provider.faults import FAULTS, Dice
from model_serving.demo_provider.server import DemoSettings, build_app
from model_serving.demo_provider.wishes import Wish, parse_wish


def test_the_same_seed_gives_the_same_faults_as_often_as_asked() -> None:
    first, second = ([Dice(0.25, 0.5, 7).cast(Wish()) for _ in range(1)] for _ in range(2))
    assert first == second
    dice = Dice(0.25, 0.0, 7)
    cast = [dice.cast(Wish()) for _ in range(4000)]
    assert 800 < sum(wish != Wish() for wish in cast) < 1200
    assert len(set(cast)) == len(FAULTS) + 1


def test_without_a_rate_nothing_goes_wrong_and_a_wish_is_never_changed() -> None:
    assert {Dice(0.0, 0.0, seed).cast(Wish()) for seed in range(50)} == {Wish()}
    asked = parse_wish("[demo:status=503]")
    assert {Dice(1.0, 1.0, seed).cast(asked) for seed in range(50)} == {asked}
    paced = Dice(1.0, 0.0, 1).cast(parse_wish("[demo:events=9,pace=0]"))
    assert (paced.events, paced.pace) == (9, 0.0)
    assert paced != parse_wish("[demo:events=9,pace=0]")


async def raw_answer(wish: str, stream: bool) -> bytes:
    """All bytes of an answer until the connection ends; `<reset>` at the end when it was reset."""
    async with TestServer(build_app(DemoSettings(pace=0.0))) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        body = json.dumps(
            {"model": "m", "stream": stream, "messages": [{"role": "user", "content": f"[demo:{wish}]a"}]}
        )
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        seen = b""
        try:
            while data := await asyncio.wait_for(reader.read(65536), 10):
                seen += data
        except ConnectionResetError:
            seen += b"<reset>"
        writer.close()
        return seen


@pytest.mark.parametrize(
    ("wish", "stream", "begins", "ends"),
    [
        pytest.param("cut-head", False, b"", b"", id="nothing at all"),
        pytest.param("cut-head,reset", False, b"<reset>", b"", id="a reset"),
        pytest.param("cut-mid-head", False, b"HTTP/1.1 200 OK\r\n", b"", id="half a head"),
        pytest.param("cut-chunk", True, b"HTTP/1.1 200 OK\r\n", b"\r\n", id="a chunk's header"),
        pytest.param("cut=1", True, b"HTTP/1.1 200 OK\r\n", b"", id="one event"),
        pytest.param("too-long", True, b"HTTP/1.1 200 OK\r\n", b"0\r\n\r\n", id="wrong lengths"),
        pytest.param("babble", False, b"SSH-2.0", b"\x02", id="another protocol"),
        pytest.param("slow=0.0001", True, b"HTTP/1.1 200 OK\r\n", b"data: [DONE]\n\n\r\n0\r\n\r\n", id="byte by byte"),
        pytest.param("head=20000", False, b"HTTP/1.1 200 OK\r\n", b"}", id="a large head"),
    ],
)
async def test_what_a_socket_sees(wish: str, stream: bool, begins: bytes, ends: bytes) -> None:
    seen = await raw_answer(wish, stream)
    assert seen.startswith(begins)
    assert seen.endswith(ends)
    if wish == "head=20000":
        assert seen.index(b"\r\n\r\n") > 20000


async def test_retry_after_as_a_date() -> None:
    async with TestServer(build_app(DemoSettings(pace=0.0))) as server, aiohttp.ClientSession() as session:
        body = {"model": "m", "messages": [{"role": "user", "content": "[demo:status=429,retry-date=60]"}]}
        async with session.post(server.make_url("/v1/chat/completions"), json=body) as answer:
            when = parsedate_to_datetime(answer.headers["Retry-After"]).timestamp()
    assert 50 < when - time.time() < 70
