"""The client side of HTTP/1.1: one protocol per upstream connection, one request at a time.

Connections are made and kept by `Pool`. A request is never sent twice from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from model_serving.proxy.http.response import Cause, Failure, ResponseListener

MAX_HEAD_BYTES = 64 * 1024
TOO_LARGE = f"its head is larger than {MAX_HEAD_BYTES} bytes"

_BODILESS = (204, 304)
"""What has no body, whatever its headers say. A server that sends one all the same must not spoil the next answer: such
a connection is not used again."""

_HEAD, _BODY, _END = range(3)
"""What a connection awaits of an answer."""


class _BadAnswerError(Exception):
    """Stops the parser: the answer breaks a rule that the parser does not know."""


class ClientConnection(asyncio.Protocol):
    """The protocol of one upstream connection, and the callbacks of its parser."""

    def __init__(self, release: Callable[[ClientConnection], None]) -> None:
        self._release = release
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._listener: ResponseListener | None = None
        self._awaits = _HEAD
        self._fault = ""
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._parts: list[bytes] = []
        self._started = self._paused = self._until_close = self._reusable = False
        self.idle_since = 0.0
        self.trust: object = None
        """The TLS context that it was made with."""
        self.keep_alive_seconds: float | None = None
        """What the upstream said in its last Keep-Alive header."""

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""
        return self._listener is None and self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, listener: ResponseListener) -> None:
        """Sends a complete request; the listener hears about the answer."""
        assert self._transport is not None
        self._listener = listener
        self._transport.write(request)

    def pause(self) -> None:
        """Stops reading: whoever takes the answer cannot keep up."""
        if self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads on."""
        if self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Drops the connection at once and tells nobody."""
        self._listener = None
        if self._transport is not None:
            self._transport.abort()

    # What asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._listener is None:
            self.abort()  # nobody asked: whatever this is, it must not become the answer to a later request
            return
        if self._awaits == _HEAD:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fault = "it switches protocols, which was not asked for"
        except httptools.HttpParserError as error:
            self._fault = self._fault or str(error)
        if self._awaits == _HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self._fault = self._fault or TOO_LARGE
        if self._awaits == _END:
            self._complete()
        else:
            self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        del self._parser  # it holds our methods: a circle that only the collector would find, much later
        self._transport = None
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if exc is None and self._started and self._until_close:
            listener.response_ended(b"", framed=False)
        else:
            what = "the answer broke off" if self._started else "the connection ended without an answer"
            listener.response_failed(Failure(Cause.LOST, what, sent=True))

    # What the parser tells us

    def on_message_begin(self) -> None:
        if self._awaits == _END:
            self._stop("more was sent than one answer")
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._awaits == _HEAD:  # else they are trailers
            name = name.lower()
            if name == b"transfer-encoding" and name in self._headers:
                self._stop("it uses two transfer codings")
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        headers = self._headers
        status = self._parser.get_status_code()
        if self._head_bytes > MAX_HEAD_BYTES and sum(map(len, headers.values())) > MAX_HEAD_BYTES:
            self._stop(TOO_LARGE)
        if status < 200:
            if status < 100 or b"content-length" in headers or b"transfer-encoding" in headers:
                self._stop("an interim answer has no body, and a status from 100")
            return
        self._status = status
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                self._stop("it uses a transfer coding other than chunked")
        elif b"content-length" not in headers and status not in _BODILESS:
            self._until_close = True
        self._awaits = _BODY

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        if self._awaits == _BODY:
            self._awaits = _END
            self._reusable = (  # the parser forgets it after this call
                self._parser.should_keep_alive() and self._status not in _BODILESS
            )

    # Inside

    def _stop(self, fault: str) -> None:
        self._fault = fault
        raise _BadAnswerError

    def _take_body(self) -> bytes:
        parts = self._parts
        if not parts:
            return b""
        self._parts = []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _deliver(self) -> None:
        """Hands on what one read brought of an answer that goes on. The listener may abort the connection."""
        listener, body = self._listener, self._take_body()
        assert listener is not None
        if self._awaits == _BODY and not self._started:
            self._started = True
            listener.response_started(self._status, self._headers, body)
        elif body:
            listener.response_data(body)
        if self._fault and self._listener is not None:
            self.abort()
            listener.response_failed(Failure(Cause.PROTOCOL, f"the answer is not valid HTTP: {self._fault}", sent=True))

    def _complete(self) -> None:
        """The answer is complete: the connection is free again before anybody hears of it."""
        listener, self._listener = self._listener, None
        status, headers, started, body = self._status, self._headers, self._started, self._take_body()
        self._awaits, self._started, self._until_close, self._head_bytes = _HEAD, False, False, 0
        self._go_on(headers.get(b"keep-alive"))
        assert listener is not None
        if started:
            listener.response_ended(body, framed=True)
        else:
            listener.response_whole(status, headers, body)

    def _go_on(self, keep_alive: bytes | None) -> None:
        """Back to the pool, or the end: a fault behind a complete answer spoils only what follows."""
        if keep_alive is not None:
            self.keep_alive_seconds = _timeout_of(keep_alive)
        if self._fault:
            self.abort()
        elif self._reusable:
            if self._paused:
                self.resume()
            self._release(self)
        elif self._transport is not None:
            self._transport.close()


def _timeout_of(keep_alive: bytes) -> float | None:
    """The seconds in a `Keep-Alive: timeout=5, max=100` header."""
    for part in keep_alive.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name.lower() == b"timeout" and value.isdigit():
            return float(value)
    return None
