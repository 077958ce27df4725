"""Fetching tokens: one small request to a token service, its answer handed to whoever asked. The port that sources use.

Sources decide when and what (`token.py` and the schemes); `fetch.py` sends it over the pool of upstreams, under the
same rules for hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class TokenRequest(msgspec.Struct, frozen=True):
    """A request to a token service. Its headers and body may hold secrets: it is never shown."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    platform: bool = False
    """The service is the platform's own, at a link-local address: a metadata or identity service."""

    def __repr__(self) -> str:
        """Without what may be secret: loops log the arguments of a callback that fails."""
        return f"TokenRequest({self.method})"


class TokenAnswer(msgspec.Struct, frozen=True):
    """What came of it: a status with headers' and body's bytes, or why there is none (`failure`, in words)."""

    status: int = 0
    body: bytes = b""
    failure: str = ""

    def __repr__(self) -> str:
        """Without the body, which may hold a token."""
        return f"TokenAnswer({self.status} {self.failure})"


class Exchange(Protocol):
    """Sends a request and calls `done` exactly once, later, from the loop."""

    def __call__(self, request: TokenRequest, done: Callable[[TokenAnswer], None]) -> None:
        """Sends it."""


def no_exchange(request: TokenRequest, done: Callable[[TokenAnswer], None]) -> None:
    """For processes that fetch no tokens."""
    done(TokenAnswer(failure="tokens are not fetched here"))
