"""One accepted connection: bytes in, exchanges out, in order.

Made by `Server.connection`. Pipelined requests wait until the one before is answered. Whatever is refused here is
answered once and the connection then ends: after a fault in the framing nothing that follows can be trusted.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, NoReturn, cast

import httptools

from model_serving.proxy.http.exchange import Exchange, Request, Unwanted
from model_serving.proxy.http.head import (
    CLOSE,
    JSON,
    JSON_HEAD,
    lines,
    merged,
    offerless_head,
    request_fault,
    status_line,
)
from model_serving.proxy.http.memory import SMALL_BYTES
from model_serving.proxy.http.paced import PacedTransport

if TYPE_CHECKING:
    from model_serving.proxy.http.server import Screen, Server

log = logging.getLogger(__name__)
NEVER = math.inf
_MOST_WAITING = 16
NO_MEMORY = "this server holds as many bytes of calls as it can: try again in a second"
_MORE = {401: b"www-authenticate: Bearer\r\n", 503: b"retry-after: 1\r\n"}  # headers of some refusals
_PIECES = 256  # body fragments kept apart before they are joined: a client may send a chunk per byte


class _RefusedError(Exception):
    """Stops the parser: `Connection._refusal` says why."""


class Connection(asyncio.Protocol):
    """The protocol of one client connection, and the callbacks of its parser."""

    _paced: PacedTransport | None = None
    """The transport, where the client speaks TLS."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._waiting: deque[Request] = deque()
        self._refusal: tuple[int, str] | None = None
        self._last = False  # the request that ends the connection has arrived, or a refusal is due
        self._lingering = self._serving = self._slow = self._pausing = self._close_after = False
        self._in_message = self._in_body = False
        self._offered = False  # the head that is being read offers to switch protocols
        self._awaiting = ""  # the part of a request that has a deadline
        self._born = server.now
        self._read_bytes = 0  # of the last read
        self._head_bytes = 0
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._headers: dict[bytes, bytes] = {}
        self._version = "1.1"
        self._body: list[bytes] = []
        self._body_bytes = self._most_bytes = 0
        self._counted = 0  # how many of them the server's memory knows
        self._held = 0  # bytes of complete bodies that it knows: of requests that are served or wait
        self._unsent = 0  # bytes that the client had not taken when last looked at
        self.deadline = server.now + server.limits.idle_seconds

    # What asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        if self._server.tls is not None:
            self._paced = PacedTransport(self._transport)
            self._transport = cast(asyncio.Transport, self._paced)
        self._server.connections.add(self)
        if self._server.full:
            self._refuse(503, "this server has as many connections as it can serve: try again in a second")

    def data_received(self, data: bytes) -> None:
        if self._last:
            return
        self._read_bytes = len(data)
        if not self._in_body:
            self._head_bytes += self._read_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(memoryview(data)[offer.args[0] :])
        except httptools.HttpParserError as error:
            self._misread(error)
        else:
            if self._in_message:
                self._await_rest()

    def eof_received(self) -> bool:
        return False  # a client that stops sending has gone; the transport closes

    def connection_lost(self, exc: Exception | None) -> None:
        del self._parser  # it holds our methods: a circle that only the collector would find, much later
        self._server.connections.discard(self)
        self._last = True
        self._waiting.clear()
        self._drop_body()
        self._server.memory.used -= self._held
        self._held = 0
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()

    def pause_writing(self) -> None:
        self._slow = True
        self._await_reader()
        if self._exchange is not None and self._exchange.listener is not None:
            self._exchange.listener.client_slow()

    def resume_writing(self) -> None:
        self._slow = False
        if self._paced is not None:
            self._paced.go_on()
            if self._slow:
                return
        self.deadline = NEVER
        if self._lingering:
            self._await_reader()
        elif self._exchange is None:
            self._next()
        elif self._exchange.listener is not None:
            self._exchange.listener.client_ready()

    # What the parser tells us

    def on_message_begin(self) -> None:
        if self._last:
            raise _RefusedError
        self._in_message = True
        self._target = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # else they are trailers
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        parser, limits = self._parser, self._server.limits
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                self._stop(400, "this server does not switch protocols: send no CONNECT")
            self._offered = True
            return
        fields, self._version = self._fields, parser.get_http_version()
        if len(fields) > limits.header_count or self._head_size() > limits.head_bytes:
            self._stop(431, self._head_too_large())
        headers = {name.lower(): value for name, value in fields}
        if len(headers) != len(fields):
            headers, fault = merged(fields)
            if fault:
                self._stop(400, fault)
        self._headers = headers
        fault = request_fault(headers, self._version)
        if fault:
            self._stop(400, fault)
        self._in_body = True
        self._most_bytes = self._server.max_body_bytes
        length = headers.get(b"content-length")
        size = int(length) if length is not None else 0
        if self._server.screen is not None and (size > SMALL_BYTES or b"transfer-encoding" in headers):
            self._most_bytes = self._screened(self._server.screen)
        if size > self._most_bytes:
            self._stop(413, self._body_too_large())
        if b"expect" in headers:
            self._expect()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._most_bytes:
            self._stop(413, self._body_too_large())
        if len(self._body) > _PIECES:
            self._body = [b"".join(self._body)]

    def on_message_complete(self) -> None:
        if self._offered:
            return
        body, parser = self._body, self._parser
        if self._body_bytes > SMALL_BYTES:
            self._hold_body()
        # A client of version 1.0 knows the end of a stream by the end of the connection alone, whatever it asks for.
        self._last = not parser.should_keep_alive() or self._version == "1.0"
        request = Request(
            parser.get_method(),
            self._target,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            self._version,
        )
        self._drop_body()
        self._in_message = self._in_body = False
        self._awaiting = ""
        self._head_bytes = 0
        if self._exchange is None and not self._waiting and not self._slow:
            self._begin(request)
        else:
            self._waiting.append(request)
            if len(self._waiting) >= _MOST_WAITING:  # before that reading goes on, for it tells when the client leaves
                self._reading(False)

    # What exchanges ask of us

    def answer(self, status: int, head: bytes, content: bytes) -> None:
        """Writes a complete answer and goes on."""
        self.write_head(status, head, content)
        self.answered()

    def write_head(self, status: int, head: bytes, content: bytes) -> None:
        """Writes the first line, our own headers, `head`, and as much of the framed body as there is."""
        server = self._server
        if self._last or self._born < server.oldest:  # the connection's last answer, unless others wait for theirs
            self._close_after = not self._waiting and self._refusal is None
            if self._close_after:
                head += b"connection: close\r\n"
        if self._transport is not None:
            first = server.ok_head if status == 200 else status_line(status) + server.date_head
            self._transport.write(b"%b%b\r\n%b" % (first, head, content))

    def write(self, data: bytes) -> None:
        """Writes bytes of an answer."""
        if self._transport is not None:
            self._transport.write(data)

    def answered(self) -> None:
        """The current exchange is complete: go on with the next request, or end."""
        if self._held:
            self._let_go()
        self._exchange = None
        if self._close_after:
            self._linger()
        elif self._waiting or self._pausing or self._slow or self._in_message or self._refusal is not None:
            self._next()
        else:
            self.deadline = self._server.idle_until

    def abort(self) -> None:
        """Drops the connection, unsent bytes included."""
        if self._transport is not None:
            self._transport.abort()

    # What the server asks of us

    def expired(self) -> None:
        """The deadline has passed."""
        if self._unsent_bytes():
            if self._unsent_bytes() < self._unsent:
                self._await_reader()
            else:
                self.abort()
        elif self._lingering and self._transport is not None:
            self._transport.close()
        elif self._in_message:
            self._refuse(408, "the request did not arrive in time: send head and body without long pauses")
        else:
            self.close_if_idle()

    @property
    def unsent(self) -> int:
        """Bytes that a slow client has not taken yet."""
        return self._unsent_bytes() if self._slow else 0

    @property
    def busy(self) -> bool:
        """Whether a request is being received, served or answered."""
        return self._exchange is not None or self._in_message or self._unsent_bytes() > 0

    def close_if_idle(self) -> None:
        """Closes the connection unless it serves or receives a request."""
        if not self.busy and self._transport is not None:
            self._transport.close()

    # Inside

    def _begin(self, request: Request) -> None:
        self.deadline = NEVER
        exchange = self._exchange = Exchange(self, request)
        try:
            self._server.handler(exchange)
        except Exception:
            log.exception("a call failed because of a fault in this program")
            if exchange.done:
                return
            self._last = True
            body = self._server.refusal(500, "this server failed to handle the call", request.target)
            exchange.respond(500, JSON_HEAD + self._server.identify(request.headers), body)

    def _next(self) -> None:
        # A loop, not a recursion: one read may hold a thousand requests that are all answered at once.
        if self._serving:
            return
        self._serving = True
        while self._idle and self._waiting:
            self._begin(self._waiting.popleft())
        self._serving = False
        if not self._idle:
            return
        if self._refusal is not None:
            self._refuse(*self._refusal)
            return
        self._reading(True)
        if self._in_message:
            self._awaiting = ""
            self._await_rest()
        else:
            self.deadline = self._server.idle_until

    @property
    def _idle(self) -> bool:
        """Whether the next request may begin: not before the client has taken enough of the last answer."""
        return self._exchange is None and not self._lingering and not self._slow

    def _hold_body(self) -> None:
        """A large body is complete: it counts until its request is answered."""
        memory = self._server.memory
        memory.used += self._body_bytes - self._counted
        self._counted = self._body_bytes
        if memory.full:
            self._stop(503, NO_MEMORY)
        self._held += self._body_bytes
        self._counted = 0

    def _let_go(self) -> None:
        """The request that is being served is answered: its body counts no more."""
        assert self._exchange is not None
        size = len(self._exchange.request.body)
        if size > SMALL_BYTES:
            self._held -= size
            self._server.memory.used -= size

    def _misread(self, error: Exception) -> None:
        """The parser has stopped."""
        if not self._last:  # else it is about what stands behind the request that ends the connection
            status, reason = self._refusal or (400, f"the request is not valid HTTP: {error}")
            self._refuse(status, reason)

    def _decline(self, rest: memoryview) -> None:
        """Reads a head anew without its offer to switch protocols, which a server may ignore (RFC 9110, section 7.8).

        Some clients offer HTTP/2 with each request; the parser takes the `rest` for the other protocol.
        """
        while self._offered:
            head = offerless_head(self._parser, self._target, self._fields)
            self._parser = httptools.HttpRequestParser(self)
            self._offered = False
            try:
                self._parser.feed_data(head)
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
            except httptools.HttpParserError as error:
                self._misread(error)
                return
        if self._in_message:
            self._await_rest()

    def _drop_body(self) -> None:
        """Nothing is being received any more: the request is complete, refused or gone."""
        self._server.memory.used -= self._counted
        self._body, self._body_bytes, self._counted = [], 0, 0

    def _expect(self) -> None:
        if self._headers[b"expect"].lower() != b"100-continue":
            self._stop(417, "the Expect header may only be 100-continue")
        if self._exchange is None and self._version == "1.1":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _screened(self, screen: Screen) -> int:
        """The most bytes that the body may have that comes now."""
        try:
            return screen(self._parser.get_method(), self._target, self._headers)
        except Unwanted as refusal:
            self._stop(refusal.status, refusal.reason)

    def _stop(self, status: int, reason: str) -> NoReturn:
        self._refusal = (status, reason)
        raise _RefusedError

    def _refuse(self, status: int, reason: str) -> None:
        """Answers with an error and ends the connection, after the exchange that is under way."""
        self._refusal = (status, reason)
        self._last = True
        self._drop_body()
        if self._exchange is not None or self._waiting:
            return
        body = self._server.refusal(status, reason, self._target)
        more = _MORE.get(status, b"") + self._server.identify(self._headers if self._in_body else {})
        head = lines([JSON, CLOSE]) + more + self._server.date_head + b"content-length: %d\r\n\r\n" % len(body)
        self.write(status_line(status) + head + body)
        self._linger()

    def _linger(self) -> None:
        """Ends our side and reads on for a moment: closing with unread bytes would destroy the answer on its way."""
        self._last = self._lingering = True
        self.deadline = self._server.now + self._server.limits.linger_seconds
        if self._unsent_bytes():
            self._await_reader()
        if self._transport is None or self._transport.is_closing():
            return
        self._reading(True)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _await_reader(self) -> None:
        """The client reads slowly: fine as long as it takes something between two looks."""
        self._unsent = self._unsent_bytes()
        self.deadline = self._server.now + self._server.limits.stalled_write_seconds

    def _reading(self, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing() or self._pausing is not wanted:
            return
        self._pausing = not wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _await_rest(self) -> None:
        """A request has arrived in part: it must be complete in time, and may not fill the memory meanwhile."""
        server, limits = self._server, self._server.limits
        if not self._in_body and self._head_bytes > limits.head_bytes:
            self._refuse(431, self._head_too_large())
            return
        memory = server.memory
        memory.used += self._body_bytes - self._counted
        self._counted = self._body_bytes
        if self._in_body and memory.full:
            self._refuse(503, NO_MEMORY)
            return
        part = "body" if self._in_body else "head"
        if self._exchange is None and not self._slow and self._awaiting != part:
            self._awaiting = part
            self.deadline = server.now + (limits.body_seconds if self._in_body else limits.head_seconds)

    def _head_size(self) -> int:
        """How large the head is; 0 where so little has arrived that it cannot be too large."""
        if max(self._read_bytes, self._head_bytes) <= self._server.limits.head_bytes:
            return 0
        return len(self._target) + sum([len(name) + len(value) for name, value in self._fields])

    def _head_too_large(self) -> str:
        limits = self._server.limits
        return f"the request's head is too large: at most {limits.head_bytes} bytes and {limits.header_count} headers"

    def _body_too_large(self) -> str:
        return f"the request's body is too large: at most {self._most_bytes} bytes"
