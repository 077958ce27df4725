"""Answers that break HTTP: written to the connection by hand, because no HTTP library would. Called by `server.py`."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from model_serving.demo_provider.wishes import Wish

_FOREVER = 3600.0
_BABBLE = b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\x00\x00\x01\x02"
_NO_LINGER = struct.pack("ii", 1, 0)
_LONGEST_LINE = 8000


class Raw(web.Response):
    """Tells the library that nothing is left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def misbehave(request: web.Request, wish: Wish, whole: bytes, events: Iterator[Any] | None) -> Raw:
    """Answers as wished and ends the connection; `events` where the answer is a stream, else `whole` is the body."""
    transport = request.transport
    if transport is None:
        return Raw()
    try:
        for piece in _pieces(wish, whole, events):
            await _write(transport, piece, wish)
        if wish.never_end:
            await asyncio.sleep(_FOREVER)
    finally:
        _drop(transport, wish.reset)
    return Raw()


async def _write(transport: asyncio.Transport, piece: bytes, wish: Wish) -> None:
    if wish.slow is None:
        transport.write(piece)
        await asyncio.sleep(wish.pace or 0)
        return
    for byte in piece:
        if transport.is_closing():
            return
        transport.write(bytes([byte]))
        await asyncio.sleep(wish.slow)


def _drop(transport: asyncio.Transport, reset: bool) -> None:
    opened = transport.get_extra_info("socket")
    if reset and opened is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
    else:
        transport.close()


def _pieces(wish: Wish, whole: bytes, events: Iterator[Any] | None) -> Iterator[bytes]:
    if wish.cut_head:
        return
    if wish.babble:
        yield _BABBLE
        return
    head = _head(wish, whole, chunked=events is not None)
    if wish.cut_mid_head:
        yield head[: len(head) // 2]
        return
    yield head
    yield from _body(wish, whole) if events is None else _chunks(wish, events)


def _head(wish: Wish, whole: bytes, *, chunked: bool) -> bytes:
    kind = wish.type or ("text/event-stream" if chunked else "application/json")
    length = len(whole) + (10 if wish.too_long else 0) - (10 if wish.too_short else 0)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
    filler = "".join(
        f"X-Filler-{at}: {'x' * min(_LONGEST_LINE, wish.head - at)}\r\n" for at in range(0, wish.head, _LONGEST_LINE)
    )
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n{filler}\r\n".encode()


def _body(wish: Wish, whole: bytes) -> Iterator[bytes]:
    if wish.cut_chunk:
        return
    half = len(whole) // 2
    yield whole[:half]
    if not wish.never_end and wish.cut is None:
        yield whole[half:]


def _chunks(wish: Wish, events: Iterator[Any]) -> Iterator[bytes]:
    for number, event in enumerate(events):
        if number == wish.cut:
            return
        data = b"data: %b\n\n" % json.dumps(event).encode()
        if wish.cut_chunk and number == 1:
            yield b"%x\r\n" % len(data)
            return
        yield b"%x\r\n%b\r\n" % (len(data) + (1 if wish.too_long else -1 if wish.too_short else 0), data)
    if wish.never_end:
        return
    yield b"e\r\ndata: [DONE]\n\n\r\n" if not wish.open_end else b""
    yield b"0\r\n\r\n"
