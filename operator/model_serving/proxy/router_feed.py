"""Where a router that has no parent learns of its workspace: a port. A platform's feed is put in by `cli.py`.

A feed speaks in plain values of `proxy_config.py`, so that it needs to know nothing of this wing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from model_serving.proxy_config import News


class RouterFeed(Protocol):
    """What a platform tells a router. Made before there is an event loop; used within one, from `run` on."""

    async def run(self, tell: Callable[[News], None]) -> None:
        """Tells all news, the whole state first, until it is cancelled; then cleans up. Its end is taken for a fault:
        it is logged, and `run` is called again after a moment. `tell` returns at once and is called in the loop.
        """

    async def review(self, token: bytes) -> tuple[str, frozenset[str]] | None:
        """Name and groups of the caller who shows `token`, which no issuer of the router's has signed; None: nobody's.

        Any exception means that this cannot be known now. Cancelled after some seconds. Answers are cached by whoever
        calls, who never asks for one token twice at a time.
        """
