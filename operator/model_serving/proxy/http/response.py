"""What the client side tells about an answer: the listener it calls, and how a fetch can fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Cause(StrEnum):
    """Why a fetch failed."""

    CONNECT = "connect"
    """No connection: name not found, refused, timed out, or TLS failed."""
    FORBIDDEN = "forbidden"
    """The address behind the name may not be called."""
    LOST = "lost"
    """The connection broke before the answer was complete."""
    PROTOCOL = "protocol"
    """The answer is not proper HTTP."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A fetch that failed. `sent`: bytes of the request may have arrived, so that it must not be sent again."""

    cause: Cause
    detail: str
    sent: bool


class ResponseListener(Protocol):
    """Who awaits an answer. Each read of the socket makes at most one of these calls, and a failure after it.

    Header names are lower-case, bodies are unframed. Not `framed`: only the closing of the connection told the end,
    which proves nothing.
    """

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        """The whole answer came at once: instead of the three calls below."""

    def response_started(self, status: int, headers: dict[bytes, bytes], data: bytes) -> None:
        """The head is complete; `data` is as much of the body as came with it."""

    def response_data(self, data: bytes) -> None:
        """Bytes of the body."""

    def response_ended(self, data: bytes, framed: bool) -> None:
        """The body is complete with `data`."""

    def response_failed(self, failure: Failure) -> None:
        """No answer, or not all of it."""
