"""One call between client and upstream: moves bytes, keeps time, ends exactly once. Used by proxy and router.

What the bytes mean is the delivery's business (`upstream.TargetCall`, `router_call.RoutedCall`). An answer is either
collected and sent whole, so that a truncated one becomes a proper error, or streamed as it comes. A stream that
breaks ends in an error event, never in an end mark.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol

import msgspec

from model_serving.proxy.errors import DeadlineExceeded, ProxyError, Unavailable
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.memory import Memory
from model_serving.proxy.http.pool import Fetch
from model_serving.proxy.http.response import Failure, ResponseListener

log = logging.getLogger(__name__)
MAX_ANSWER_BYTES = 64 * 1024 * 1024
END_GRACE_SECONDS = 2.0
CLIENT_GONE = 499


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A complete answer for the client; `head` are rendered header lines."""

    status: int
    head: bytes
    body: bytes


class Delivery(Protocol):
    """What a call's answer means. What its methods raise fails the call: a ProxyError is told as it is."""

    complete: bool
    """The stream's end mark was seen."""

    def send(self, listener: ResponseListener) -> Fetch:
        """Sends the request off."""

    def again(self, failure: Failure | None, status: int) -> bool:
        """Whether to send once more, after a failure or an answer with `status`."""

    def stream_head(self, status: int, headers: dict[bytes, bytes]) -> bytes | None:
        """The header lines of a streamed answer; None when the answer is to be collected."""

    def feed(self, data: bytes) -> bytes:
        """A piece of a stream, for the client."""

    def close(self, framed: bool) -> bytes:
        """The stream's last piece. ProxyError when the stream was cut off."""

    def whole(self, status: int, headers: dict[bytes, bytes], body: bytes, framed: bool) -> Answer:
        """A collected answer."""

    def broken(self, failure: Failure) -> ProxyError:
        """The error for a failed fetch."""

    def refused(self, error: ProxyError) -> Answer:
        """The answer that tells `error`; of a stream that has begun only its event is sent."""

    def settled(self, status: int, first_byte: float, last_byte: float, now: float) -> None:
        """The call has ended with `status`; when its answer's first and last byte came, 0 when none did."""


class Timeouts(msgspec.Struct, frozen=True, gc=False):
    """How long a call may take: in all, between two pieces of a stream, until its answer begins. Seconds."""

    total: float
    idle: float
    first: float


class InFlight:
    """The calls under way; looks at their time when swept."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time
        self._relays: set[Relay] = set()
        self.memory = Memory(MAX_ANSWER_BYTES)
        """Where collected answers count; the data port's takes its place."""

    def __len__(self) -> int:
        return len(self._relays)

    def add(self, relay: Relay) -> None:
        """A call begins."""
        self._relays.add(relay)

    def discard(self, relay: Relay) -> None:
        """A call has ended."""
        self._relays.discard(relay)

    def sweep(self, now: float) -> None:
        """Ends the calls whose time has run out; called a few times a second."""
        for relay in [relay for relay in self._relays if relay.deadline <= now]:
            relay.expired(now)

    def abort(self) -> None:
        """Cuts all calls: the process ends."""
        for relay in list(self._relays):
            relay.cut()


class Relay:
    """The course of one call. Listens to the upstream and to the client."""

    # Most calls never change these: as defaults of the class they cost nothing.
    _fetch: Fetch | None = None
    _first_byte = 0.0
    _last_byte = 0.0
    _paused = False
    _streaming = 0
    """The status of the stream that the client gets; 0 while it gets none."""
    _collected: _Collected | None = None

    def __init__(self, exchange: Exchange, delivery: Delivery, in_flight: InFlight, timeouts: Timeouts) -> None:
        self._exchange = exchange
        self._delivery = delivery
        self._in_flight = in_flight
        self._timeouts = timeouts
        now = in_flight.now()
        self._until, self.deadline = now + timeouts.total, now + timeouts.first

    def start(self) -> None:
        """Sends the request off."""
        self._exchange.listener = self
        self._in_flight.add(self)
        self._send()

    def cut(self) -> None:
        """Ends the call at once."""
        self._abort_fetch()
        self._fail(Unavailable("this server is shutting down"))

    def expired(self, now: float) -> None:
        """The deadline has passed: the end, or only the longest pause between two pieces."""
        idle_until = self._last_byte + (END_GRACE_SECONDS if self._delivery.complete else self._timeouts.idle)
        if now < self._until and self._streaming and (self._paused or now < idle_until):
            self._set_stream_deadline(math.inf if self._paused else idle_until)
            return
        self._abort_fetch()
        if self._streaming and self._delivery.complete:
            self._end_stream(b"", framed=True)  # all is there, the upstream only keeps the connection open
        else:
            self._fail(DeadlineExceeded(self._lateness(now)))

    # What the upstream tells us

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self._fetch = None
        if self._collected is not None:  # one of several answers (`batch.py`) takes the place of all
            self._drop_collected()
        try:
            head = self._delivery.stream_head(status, headers)
        except Exception as error:
            self._fail(error)
            return
        if head is None:
            self._finish(status, headers, body, framed=True)
        else:
            self._begin(status, head, body, last=True)

    def response_started(self, status: int, headers: dict[bytes, bytes], data: bytes) -> None:
        try:
            head = self._delivery.stream_head(status, headers)
        except Exception as error:
            self._abort_fetch()
            self._fail(error)
            return
        if head is None:
            self._collected = _Collected(status, headers)
            self.deadline = self._until
            self._collect(data)
        else:
            self._begin(status, head, data, last=False)

    def response_data(self, data: bytes) -> None:
        if not self._streaming:
            self._collect(data)
            return
        ended = self._delivery.complete
        if ended:
            return  # what follows the end mark is nobody's, and must not hold up the end
        self._last_byte = self._in_flight.now()
        try:
            piece = self._delivery.feed(data)
        except Exception as error:
            self._abort_fetch()
            self._fail(error)
            return
        self._exchange.write(piece)
        if not self._first_byte:  # the head may have come long before
            self._first_byte = self._last_byte
        if self._delivery.complete:  # else the sweep looks at the time of the last byte by itself
            self._await_piece()

    def response_ended(self, data: bytes, framed: bool) -> None:
        self._fetch = None
        if self._streaming:
            self._end_stream(data, framed)
            return
        collected = self._collected
        assert collected is not None
        self._drop_collected()
        collected.parts.append(data)
        self._finish(collected.status, collected.headers, b"".join(collected.parts), framed)

    def response_failed(self, failure: Failure) -> None:
        self._fetch = None
        if self._delivery.again(failure, 0):
            self._send()
        else:
            self._fail(self._delivery.broken(failure))

    # What the client tells us

    def client_gone(self) -> None:
        self._abort_fetch()
        self._settle(CLIENT_GONE)

    def client_slow(self) -> None:
        self._paused = True
        if self._fetch is not None:
            self._fetch.pause()

    def client_ready(self) -> None:
        self._paused = False
        if self._streaming:
            self._last_byte = self._in_flight.now()
            self._await_piece()
        if self._fetch is not None:
            self._fetch.resume()

    # Inside

    def _send(self) -> None:
        try:
            self._fetch = self._delivery.send(self)
        except Exception as error:
            self._fail(error)

    def _collect(self, data: bytes) -> None:
        collected = self._collected
        assert collected is not None
        collected.parts.append(data)
        collected.size += len(data)
        memory = self._in_flight.memory
        memory.used += len(data)
        if collected.size > MAX_ANSWER_BYTES:
            self._abort_fetch()
            self._fail(Unavailable(f"the upstream's answer is larger than {MAX_ANSWER_BYTES} bytes"))
        elif memory.full:
            self._abort_fetch()
            self._fail(Unavailable("this server holds as many bytes of calls as it can: try again in a second"))

    def _finish(self, status: int, headers: dict[bytes, bytes], body: bytes, framed: bool) -> None:
        """A collected answer is complete: for the client, or a reason to try once more."""
        delivery = self._delivery
        try:
            if status >= 400 and delivery.again(None, status):
                self._fetch = delivery.send(self)
                return
            self._mark_byte()
            answer = delivery.whole(status, headers, body, framed)
        except Exception as error:
            self._fail(error)
            return
        self._exchange.respond(answer.status, answer.head, answer.body)
        self._settle(answer.status)

    def _begin(self, status: int, head: bytes, data: bytes, *, last: bool) -> None:
        """A stream begins; when it is its `last` read already, one write tells the client all of it."""
        self._streaming = status
        self._last_byte = self._in_flight.now()
        piece = b""
        try:
            if data:
                self._first_byte = self._last_byte
                piece = self._delivery.feed(data)
            if last:
                piece += self._delivery.close(framed=True)
        except Exception as error:
            self._exchange.start(status, head, piece)
            self._abort_fetch()
            self._fail(error)
            return
        self._exchange.start(status, head, piece, last=last)
        if last:
            self._settle(status)
            return
        if self._paused and self._fetch is not None:  # the client was slow before there was anything to pause
            self._fetch.pause()
        self._await_piece()

    def _end_stream(self, data: bytes, framed: bool) -> None:
        piece = b""
        try:
            if data:
                self._mark_byte()
                piece = self._delivery.feed(data)
            rest = self._delivery.close(framed)
        except Exception as error:
            self._exchange.write(piece)
            self._fail(error)
            return
        self._exchange.end(piece + rest)
        self._settle(self._streaming)

    def _fail(self, reason: Exception) -> None:
        error = as_proxy_error(reason)
        answer = self._delivery.refused(error)
        if self._streaming:
            self._exchange.end(error.event())
        else:
            self._exchange.respond(answer.status, answer.head, answer.body)
        self._settle(error.status)

    def _lateness(self, now: float) -> str:
        timeouts = self._timeouts
        if now >= self._until:
            return f"the upstream did not answer within {timeouts.total:g} s"
        if self._streaming:
            return f"the upstream sent nothing for {timeouts.idle:g} s"
        return f"the upstream did not begin to answer within {timeouts.first:g} s"

    def _drop_collected(self) -> None:
        if self._collected is not None:
            self._in_flight.memory.used -= self._collected.size
            self._collected = None

    def _settle(self, status: int) -> None:
        if self._collected is not None:
            self._drop_collected()
        self._exchange.listener = None
        self._in_flight.discard(self)
        self._delivery.settled(status, self._first_byte, self._last_byte, self._in_flight.now())

    def _abort_fetch(self) -> None:
        fetch, self._fetch = self._fetch, None
        if fetch is not None:
            fetch.abort()

    def _mark_byte(self) -> None:
        self._last_byte = self._in_flight.now()
        self._first_byte = self._first_byte or self._last_byte

    def _await_piece(self) -> None:
        """The longest pause counts from now; after the end mark only a moment is left for the end."""
        pause = END_GRACE_SECONDS if self._delivery.complete else self._timeouts.idle
        self._set_stream_deadline(self._last_byte + pause)

    def _set_stream_deadline(self, idle_until: float) -> None:
        self.deadline = min(self._until, idle_until)


def as_proxy_error(error: Exception) -> ProxyError:
    """What a client hears, of a fault in this program too. Left to the loop, that would leave the call unanswered."""
    if isinstance(error, ProxyError):
        return error
    log.error("a call failed because of a fault in this program", exc_info=error)
    return ProxyError("this server failed to handle the call")


class _Collected:
    """An answer that is on its way and will be sent whole."""

    __slots__ = ("headers", "parts", "size", "status")

    def __init__(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers
        self.parts: list[bytes] = []
        self.size = 0
