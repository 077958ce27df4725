"""Several requests that are one call: vendors take few texts per request, or one. Looks like a single fetch to a relay.

They are under way side by side, a few at a time; the first that fails ends them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model_serving.proxy.http.pool import Fetch
from model_serving.proxy.http.response import Cause, Failure, ResponseListener

AT_ONCE = 8
MAX_BYTES = 64 * 1024 * 1024
"""Of all answers together."""

Send = Callable[[bytes, ResponseListener], Fetch]


class Batch(Fetch):
    """The requests of one call. When all have succeeded, `listener` gets an empty answer: see `answers`."""

    __slots__ = ("_failed", "_listener", "_next", "_open", "_requests", "_send", "_size", "answers")

    def __init__(self, requests: Sequence[bytes], send: Send, listener: ResponseListener) -> None:
        super().__init__()
        self.answers: list[bytes] = [b""] * len(requests)
        """Their bodies, in the order of the requests."""
        self._requests = requests
        self._send = send
        self._listener = listener
        self._open: dict[int, _Part] = {}
        self._next = 0
        self._size = 0
        self._failed = False

    def start(self) -> None:
        """Sends the first ones."""
        while not self._failed and len(self._open) < AT_ONCE and self._next < len(self._requests):
            self._send_next()

    def abort(self) -> None:
        """Ends all that are under way."""
        self._failed = True
        parts, self._open = list(self._open.values()), {}
        for part in parts:
            if part.fetch is not None:
                part.fetch.abort()

    def pause(self) -> None:
        """Answers are collected whole: there is nothing to slow down."""

    def resume(self) -> None:
        """See `pause`."""

    def received(self, size: int) -> bool:
        """Counts bytes of answers; False when they are too many, and everything has ended."""
        self._size += size
        if self._size <= MAX_BYTES:
            return True
        self.failed(Failure(Cause.PROTOCOL, f"its answers are larger than {MAX_BYTES} bytes", sent=True))
        return False

    def answered(self, number: int, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """One answer is complete."""
        del self._open[number]
        if not 200 <= status < 300:
            self.abort()
            self._listener.response_whole(status, headers, body)
            return
        self.answers[number] = body
        if self._next < len(self._requests):
            self._send_next()
        elif not self._open:
            self._listener.response_whole(status, headers, b"")

    def failed(self, failure: Failure) -> None:
        """One has failed, and so have all."""
        self.abort()
        self._listener.response_failed(failure)

    def _send_next(self) -> None:
        number, self._next = self._next, self._next + 1
        part = self._open[number] = _Part(self, number)
        part.fetch = self._send(self._requests[number], part)


class _Part:
    """One request's listener: collects its answer."""

    __slots__ = ("_batch", "_headers", "_number", "_pieces", "_status", "fetch")

    def __init__(self, batch: Batch, number: int) -> None:
        self.fetch: Fetch | None = None
        self._batch = batch
        self._number = number
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.fetch = None  # it has ended: its connection may serve somebody else by now
        if self._batch.received(len(body)):
            self._batch.answered(self._number, status, headers, body)

    def response_started(self, status: int, headers: dict[bytes, bytes], data: bytes) -> None:
        self._status, self._headers = status, headers
        self.response_data(data)

    def response_data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._batch.received(len(data))

    def response_ended(self, data: bytes, framed: bool) -> None:
        self.fetch = None
        if not framed:
            self._batch.failed(Failure(Cause.LOST, "the answer broke off", sent=True))
        elif self._batch.received(len(data)):
            self._pieces.append(data)
            self._batch.answered(self._number, self._status, self._headers, b"".join(self._pieces))

    def response_failed(self, failure: Failure) -> None:
        self.fetch = None
        self._batch.failed(failure)
