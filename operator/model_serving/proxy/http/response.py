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
    """Who awaits an answer. Each read of the socket makes at most one call of each kind, in this order."""

    def response_started(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head is complete; names are lower-case."""

    def response_data(self, data: bytes) -> None:
        """Bytes of the body, unframed."""

    def response_ended(self, framed: bool) -> None:
        """The body is complete. Not `framed`: only the closing of the connection says so, which proves nothing."""

    def response_failed(self, failure: Failure) -> None:
        """No answer, or not all of it."""
