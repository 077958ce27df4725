"""Sends requests for tokens over the pool of upstreams, under the hosts that may be called. Made by `app.py`.

The port is `exchange.py`'s. Answers are small and come soon, or they do not count; redirects are not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from model_serving.proxy.credentials.exchange import TokenAnswer, TokenRequest
from model_serving.proxy.hosts import Leave, scheme_refusal
from model_serving.proxy.http.head import clean_value
from model_serving.proxy.http.pool import Fetch, Origin, Pool
from model_serving.proxy.http.response import Failure
from model_serving.proxy.runtime import USER_AGENT, split_url

MAX_ANSWER_BYTES = 256 * 1024
DEADLINE_SECONDS = 15.0
"""From the connection's begin to the answer's end."""


class TokenFetcher:
    """An `Exchange`. `leave` says which hosts the policy allows now."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, leave: Callable[[], Leave]) -> None:
        self._loop = loop
        self._pool = pool
        self._leave = leave

    def __call__(self, request: TokenRequest, done: Callable[[TokenAnswer], None]) -> None:
        """Sends it; `done` is called once, from the loop."""
        try:
            origin, message = rendered(request, Leave.IDENTITY if request.platform else self._leave())
        except ValueError as error:
            self._loop.call_soon(done, TokenAnswer(failure=str(error)))
            return
        listener = _Listener(done)
        listener.timer = self._loop.call_later(DEADLINE_SECONDS, listener.late)
        listener.fetch = self._pool.send(origin, message, listener)


def rendered(request: TokenRequest, leave: Leave) -> tuple[Origin, bytes]:
    """Where a request goes, and its bytes. ValueError when it may not."""
    origin, host, path = split_url(request.url, leave)
    if refusal := scheme_refusal(origin.https, leave):
        raise ValueError(refusal)
    headers = {"host": host, "user-agent": USER_AGENT.decode(), "accept": "application/json"}
    headers |= {name.lower(): value for name, value in request.headers}
    headers |= {"accept-encoding": "identity", "connection": "close"}  # the next one comes in an hour
    if request.body or request.method != "GET":
        headers["content-length"] = str(len(request.body))
    lines = b"".join(b"%b: %b\r\n" % (clean_value(name), clean_value(value)) for name, value in headers.items())
    return origin, b"%b %b HTTP/1.1\r\n%b\r\n%b" % (request.method.encode(), path.encode(), lines, request.body)


class _Listener:
    """Collects one answer."""

    def __init__(self, done: Callable[[TokenAnswer], None]) -> None:
        self.fetch: Fetch | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._done = done
        self._status = 0
        self._body = b""

    def late(self) -> None:
        """The deadline has passed."""
        self._cut(f"did not answer within {DEADLINE_SECONDS:g} s")

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self._status = status
        self.response_ended(body, framed=True)

    def response_started(self, status: int, headers: dict[bytes, bytes], data: bytes) -> None:
        self._status = status
        self.response_data(data)

    def response_data(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > MAX_ANSWER_BYTES:
            self._cut(f"answers with more than {MAX_ANSWER_BYTES} bytes")

    def response_ended(self, data: bytes, framed: bool) -> None:
        self.fetch = None
        body = self._body + data
        if len(body) > MAX_ANSWER_BYTES:
            self._end(TokenAnswer(failure=f"answers with more than {MAX_ANSWER_BYTES} bytes"))
        elif framed:
            self._end(TokenAnswer(self._status, body))
        else:
            self._end(TokenAnswer(failure="broke off its answer"))

    def response_failed(self, failure: Failure) -> None:
        self.fetch = None
        self._end(TokenAnswer(failure=f"cannot be reached: {failure.detail}"))

    def _cut(self, why: str) -> None:
        fetch, self.fetch = self.fetch, None
        if fetch is not None:
            fetch.abort()
        self._end(TokenAnswer(failure=why))

    def _end(self, answer: TokenAnswer) -> None:
        if self.timer is not None:
            self.timer.cancel()
        done, self._done = self._done, _nobody
        done(answer)


def _nobody(answer: TokenAnswer) -> None:
    """Who listens to an answer that has been told already."""
