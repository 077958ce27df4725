"""Several requests that are one call: vendors take few texts per request, or one. Looks like a single fetch to a relay.

They are under way side by side, a few at a time; the first that fails ends them all. The relay hears of every byte as
of one answer, so that its bounds of memory and time hold for all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from model_serving.proxy.http.pool import Fetch
from model_serving.proxy.http.response import Failure, ResponseListener

AT_ONCE = 8

Send = Callable[[bytes, ResponseListener], Fetch]


class Batch(Fetch):
    """The requests of one call. Their answers are in `answers` when `listener` hears of an end.

    An answer that is no success takes the place of all that the listener was told before.
    """

    __slots__ = ("_begun", "_ended", "_framed", "_listener", "_next", "_open", "_requests", "_send", "answers")

    def __init__(self, requests: Sequence[bytes], send: Send, listener: ResponseListener) -> None:
        super().__init__()
        self.answers: list[bytes] = [b""] * len(requests)
        """Their bodies, in the order of the requests; empty as long as there is none."""
        self._requests = requests
        self._send = send
        self._listener = listener
        self._open: dict[int, _Part] = {}
        self._next = 0
        self._begun = False
        self._framed = True
        self._ended = False

    def start(self) -> None:
        """Sends the first ones."""
        while len(self._open) < AT_ONCE and self._next < len(self._requests):
            self._send_next()

    def abort(self) -> None:
        """Ends all that are under way."""
        self._ended = True
        parts, self._open = list(self._open.values()), {}
        for part in parts:
            if part.fetch is not None:
                part.fetch.abort()

    def pause(self) -> None:
        """Answers are collected whole: there is nothing to slow down."""

    def resume(self) -> None:
        """See `pause`."""

    def received(self, status: int, headers: dict[bytes, bytes], data: bytes) -> bool:
        """Bytes of some answer. False when they were too many for the listener, and everything has ended."""
        if self._begun:
            self._listener.response_data(data)
        else:
            self._begun = True
            self._listener.response_started(status, headers, data)
        return not self._ended

    def answered(self, part: _Part, body: bytes, framed: bool) -> None:
        """One answer is complete."""
        del self._open[part.number]
        if not 200 <= part.status < 300:
            self.abort()
            self._listener.response_whole(part.status, part.headers, body)
            return
        self.answers[part.number] = body
        self._framed = self._framed and framed
        if self._next < len(self._requests):
            self._send_next()
        elif not self._open:
            self._ended = True
            self._listener.response_ended(b"", self._framed)

    def failed(self, failure: Failure) -> None:
        """One has failed, and so have all. Others may have arrived though this one did not."""
        fetches = [part.fetch for part in self._open.values()]
        sent = failure.sent or self._begun or any(fetch is not None and fetch.connection for fetch in fetches)
        self.abort()
        self._listener.response_failed(replace(failure, sent=sent))

    def _send_next(self) -> None:
        number, self._next = self._next, self._next + 1
        part = self._open[number] = _Part(self, number)
        part.fetch = self._send(self._requests[number], part)


class _Part:
    """One request's listener: collects its answer."""

    __slots__ = ("_batch", "_pieces", "fetch", "headers", "number", "status")

    def __init__(self, batch: Batch, number: int) -> None:
        self.number = number
        self.fetch: Fetch | None = None
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._batch = batch
        self._pieces: list[bytes] = []

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.status, self.headers = status, headers
        self.response_ended(body, framed=True)

    def response_started(self, status: int, headers: dict[bytes, bytes], data: bytes) -> None:
        self.status, self.headers = status, headers
        self.response_data(data)

    def response_data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._batch.received(self.status, self.headers, data)

    def response_ended(self, data: bytes, framed: bool) -> None:
        self.fetch = None  # it has ended: its connection may serve somebody else by now
        self._pieces.append(data)
        if self._batch.received(self.status, self.headers, data):
            self._batch.answered(self, b"".join(self._pieces), framed)

    def response_failed(self, failure: Failure) -> None:
        self.fetch = None
        self._batch.failed(failure)
