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


class _BadAnswerError(Exception):
    """Stops the parser: the answer breaks a rule that the parser does not know."""


class ClientConnection(asyncio.Protocol):
    """The protocol of one upstream connection, and the callbacks of its parser."""

    def __init__(self, release: Callable[[ClientConnection], None]) -> None:
        self._release = release
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._listener: ResponseListener | None = None
        self._fault = ""
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._reset()
        self.idle_since = 0.0
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
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads on."""
        if self._transport is not None and not self._transport.is_closing():
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
        if self._listener is None or self._ended:
            self.abort()  # nobody asked: whatever this is, it must not become the answer to a later request
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fault = "it switches protocols, which was not asked for"
        except httptools.HttpParserError as error:
            self._fault = self._fault or str(error)
        if not self._head_complete and not self._fault:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fault = TOO_LARGE
        self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if exc is None and self._started and self._until_close:
            listener.response_ended(framed=False)
        else:
            what = "the answer broke off" if self._started else "the connection ended without an answer"
            listener.response_failed(Failure(Cause.LOST, what, sent=True))

    # What the parser tells us

    def on_message_begin(self) -> None:
        if self._ended:
            self._stop("more was sent than one answer")
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:  # else they are trailers
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if sum(map(len, self._headers.values())) > MAX_HEAD_BYTES:
            self._stop(TOO_LARGE)
        if status < 200:
            return
        self._status = status
        self._head_complete = True
        framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        self._until_close = not framed and status not in (204, 304)
        if self._headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self._stop("it uses a transfer coding other than chunked")

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        if self._head_complete:
            self._ended = True
            self._reusable = self._parser.should_keep_alive()

    # Inside

    def _reset(self) -> None:
        self._status = 0
        self._headers = {}
        self._head_bytes = 0
        self._parts = []
        self._head_complete = self._started = self._ended = False
        self._reusable = self._until_close = False

    def _stop(self, fault: str) -> None:
        self._fault = fault
        raise _BadAnswerError

    def _deliver(self) -> None:
        """Hands on what one read brought. The listener may abort the connection at any of these calls."""
        if self._head_complete and not self._started and self._listener is not None:
            self._started = True
            self._listener.response_started(self._status, self._headers)
        if self._parts and self._listener is not None:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts = []
            self._listener.response_data(data)
        if self._fault:
            self._fail()
        elif self._ended and self._listener is not None:
            self._complete()

    def _complete(self) -> None:
        listener, self._listener = self._listener, None
        reusable, keep_alive = self._reusable, self._headers.get(b"keep-alive")
        self._reset()
        if keep_alive is not None:
            self.keep_alive_seconds = _timeout_of(keep_alive)
        if reusable:
            self.resume()
            self._release(self)
        elif self._transport is not None:
            self._transport.close()
        assert listener is not None
        listener.response_ended(framed=True)

    def _fail(self) -> None:
        listener, ended = self._listener, self._ended
        self.abort()
        if listener is None:
            return
        if ended:  # the answer itself is complete, only what follows it is wrong
            listener.response_ended(framed=True)
        else:
            listener.response_failed(Failure(Cause.PROTOCOL, f"the answer is not valid HTTP: {self._fault}", sent=True))


def _timeout_of(keep_alive: bytes) -> float | None:
    """The seconds in a `Keep-Alive: timeout=5, max=100` header."""
    for part in keep_alive.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name.lower() == b"timeout" and value.isdigit():
            return float(value)
    return None
