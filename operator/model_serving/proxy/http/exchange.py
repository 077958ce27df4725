"""One request and the answer to it, as the server's handler sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from model_serving.proxy.http.connection import Connection


class Request(msgspec.Struct, frozen=True, gc=False):
    """A complete request. `target` is what stood in the request line; header names are lower-case."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    version: str


class Unwanted(Exception):
    """A request that is refused by its head, before its body is read: with this status, for this reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ClientListener(Protocol):
    """Who wants to know how the client of an exchange is doing."""

    def client_gone(self) -> None:
        """The connection is lost: nobody reads the answer."""

    def client_slow(self) -> None:
        """More is written than the client reads: stop producing."""

    def client_ready(self) -> None:
        """The client has caught up."""


class Exchange:
    """Answers one request: `respond` whole, or `start`, `write` …, `end`. After `done` every call is without effect."""

    __slots__ = ("_chunked", "_connection", "done", "listener", "request", "started")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self.request = request
        self.listener: ClientListener | None = None
        self.started = False
        self.done = False
        self._chunked = request.version == "1.1"

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """Sends a complete answer; `head` are rendered header lines without length."""
        if self.done or self.started:
            return
        self.done = True
        content = body if self.request.method != b"HEAD" else b""
        self._connection.answer(status, b"%bcontent-length: %d\r\n" % (head, len(body)), content)

    def start(self, status: int, head: bytes, data: bytes = b"", *, last: bool = False) -> None:
        """Begins an answer of unknown length with its first piece, in one write; `last` ends it at once."""
        if self.done or self.started:
            return
        self.started = True
        if self._chunked:
            head += b"transfer-encoding: chunked\r\n"
            data = _chunk(data, last)
        if last:
            self.done = True
            self._connection.answer(status, head, data)
        else:
            self._connection.write_head(status, head, data)

    def write(self, data: bytes) -> None:
        """Sends a piece of a started answer at once."""
        if data and self.started and not self.done:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, data: bytes = b"") -> None:
        """Completes a started answer with its last piece."""
        if self.started and not self.done:
            self.done = True
            self._connection.write(_chunk(data, last=True) if self._chunked else data)
            self._connection.answered()

    def cut(self) -> None:
        """Gives up a started answer so that the client sees that it is incomplete."""
        if not self.done:
            self.done = True
            self._connection.abort()

    def lost(self) -> None:
        """The client is gone (called by the connection)."""
        if not self.done:
            self.done = True
            if self.listener is not None:
                self.listener.client_gone()


def _chunk(data: bytes, last: bool) -> bytes:
    """`data` in the chunked coding; a chunk of length 0 is the end."""
    chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return chunk + b"0\r\n\r\n" if last else chunk
