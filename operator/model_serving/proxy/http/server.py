"""The server side of HTTP/1.1: one protocol per connection, requests served one after the other.

Started by `process.py`; hands each complete request to the handler as an `Exchange`. It refuses by itself what is not
proper HTTP, too large or too slow. Deadlines are looked at by `Server.sweep`, called a few times a second, not by a
timer per call.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model_serving.proxy.http.connection import Connection
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.head import http_date, status_line
from model_serving.proxy.http.memory import Memory

BACKLOG = 4096
HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 20.0
"""How long a client may take to read the last piece (`paced.py`) and to confirm the end of a TLS connection."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What clients may ask of the server, one each unless said otherwise. Times in seconds."""

    connections: int = 8192
    head_bytes: int = 32 * 1024
    header_count: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    stalled_write_seconds: float = 60.0
    linger_seconds: float = 2.0
    connection_age_seconds: float = 600.0
    buffered_bytes: int = 256 * 1024 * 1024
    """Of all clients together: bodies, collected answers, and what slow clients have not taken (`memory.py`)."""


Handler = Callable[[Exchange], None]
Refusal = Callable[[int, str, bytes], bytes]
"""Makes the body of a refusal from status, reason and the request's target."""
Screen = Callable[[bytes, bytes, Mapping[bytes, bytes]], int]
"""The most bytes of body that a request with this method, target and head may have. Unwanted."""


class Server:
    """What all connections share: the handler, the limits, and whether it drains."""

    def __init__(self, handler: Handler, refusal: Refusal, limits: ServerLimits | None = None) -> None:
        self.handler = handler
        self.refusal = refusal
        self.limits = limits or ServerLimits()
        self.max_body_bytes = 4 * 1024 * 1024
        self.identify: Callable[[Mapping[bytes, bytes]], bytes] = lambda headers: b""
        """The header line that tells the request's id, for answers that no handler gives."""
        self.screen: Screen | None = None
        """Asked before a body is read that is not small; None: `max_body_bytes` is for everybody."""
        self.draining = False
        self.tls: ssl.SSLContext | None = None
        """Speak TLS; set before `listen`."""
        self.memory = Memory(self.limits.buffered_bytes)
        self.connections: set[Connection] = set()
        self.date_head = self.ok_head = b""
        """The Date header line; the same behind the first line of the commonest answer."""
        self.now = self.idle_until = 0.0
        self.oldest = 0.0
        """Connections that were born before are closed after their next answer."""

    def connection(self) -> Connection:
        """A protocol for one accepted connection (the factory that asyncio asks)."""
        return Connection(self)

    def sweep(self, now: float, wall: float) -> None:
        """Ends what took too long; `now` is the loop's clock, `wall` seconds since the epoch for the Date header."""
        self.now, self.idle_until = now, now + self.limits.idle_seconds
        self.oldest = math.inf if self.draining else now - self.limits.connection_age_seconds
        self.date_head = b"date: %b\r\n" % http_date(wall)
        self.ok_head = status_line(200) + self.date_head
        self.memory.unsent = sum(connection.unsent for connection in self.connections)
        for connection in [connection for connection in self.connections if connection.deadline <= now]:
            connection.expired()

    def drain(self) -> None:
        """From now on each answer ends its connection."""
        self.draining = True
        self.oldest = math.inf

    def close_idle(self) -> None:
        """Closes the connections that serve nothing now."""
        for connection in list(self.connections):
            connection.close_if_idle()

    @property
    def busy(self) -> bool:
        """Whether any connection serves or receives a request, or has an answer to send."""
        return any(connection.busy for connection in self.connections)

    @property
    def buffered(self) -> int:
        """Bytes that calls hold; 0 when nothing is under way."""
        return self.memory.used

    @property
    def full(self) -> bool:
        """Whether a further connection is one too many."""
        return len(self.connections) > self.limits.connections


async def listen(server: Server, host: str, port: int, *, shared: bool = False) -> asyncio.Server:
    """Opens a listener for `server`. OSError when the address cannot be bound.

    `shared`: other processes listen at the same port, and the kernel gives each its part of the connections.
    """
    loop = asyncio.get_running_loop()
    tls = _tls_of(server)
    return await loop.create_server(server.connection, host, port, backlog=BACKLOG, reuse_port=shared or None, **tls)


async def listen_at(server: Server, opened: socket.socket) -> asyncio.Server:
    """As `listen`, at a socket that somebody else has bound: connections wait in it while nobody accepts them."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(server.connection, sock=opened, backlog=BACKLOG, **_tls_of(server))


def _tls_of(server: Server) -> dict[str, Any]:
    if server.tls is None:
        return {}
    return {"ssl": server.tls, "ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": SHUTDOWN_SECONDS}
