"""Waiting for a whole round of a loop that begins from now on. Used by `keeper.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Rounds:
    """A loop's rounds. Whoever waits while one is under way waits for the next: the first may have begun too early."""

    def __init__(self) -> None:
        self._coming: asyncio.Future[None] | None = None
        self._over = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """One round of the loop; those who waited for it go on at its end, however it ends."""
        mine, self._coming = self._coming, None
        try:
            yield
        finally:
            if mine is not None and not mine.done():
                mine.set_result(None)

    async def another(self, seconds: float) -> None:
        """Returns when a round that has not begun yet has ended, or none will come, or the time is over."""
        if self._over:
            return
        if self._coming is None:
            self._coming = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._coming}, timeout=seconds)

    def end(self) -> None:
        """No round will come any more: nobody waits for one."""
        self._over = True
        if self._coming is not None:
            self._coming.set_result(None)
            self._coming = None
