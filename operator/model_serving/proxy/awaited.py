"""A request that waits for its credential: while a token is being fetched, calls are held instead of refused.

Looks like a single fetch to a relay, whose timeouts hold here too. Made by `upstream.py` for a call that found no valid
token, and for the second attempt of one whose token the provider has refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from model_serving.proxy.credentials.scheme import Source
from model_serving.proxy.http.pool import Fetch
from model_serving.proxy.http.response import Cause, Failure, ResponseListener

log = logging.getLogger(__name__)

Send = Callable[[ResponseListener], Fetch | None]


class AwaitedFetch(Fetch):
    """Sends when what is pending at the source has ended; when `send` says None, the listener hears of a failure."""

    __slots__ = ("_inner", "_listener", "_send")

    def __init__(self, source: Source, send: Send, listener: ResponseListener) -> None:
        super().__init__()
        self._send = send
        self._listener = listener
        self._inner: Fetch | None = None
        self.step = source.wait(self._settled)

    def abort(self) -> None:
        """Ends the wait, or what followed it."""
        if self._inner is not None:
            self._inner.abort()
        else:
            super().abort()

    def pause(self) -> None:
        """Reads no more of the answer for now."""
        if self._inner is not None:
            self._inner.pause()

    def resume(self) -> None:
        """Reads on."""
        if self._inner is not None:
            self._inner.resume()

    def _settled(self) -> None:
        try:
            self._inner = self._send(self._listener)
        except Exception:  # who tells us tells a thousand others next
            log.exception("a call that waited for its credential failed because of a fault in this program")
        if self._inner is None:
            self._listener.response_failed(Failure(Cause.CONNECT, "there is no credential", sent=False))
