"""Keeps a router fed: runs its feed, again after a fault, and falls back to a copy while the feed says nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from model_serving.proxy.router_copy import RouterCopy
from model_serving.proxy.router_feed import RouterFeed
from model_serving.proxy_config import News

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 2.0
"""How long a router waits for its feed before it takes the copy."""
AGAIN_SECONDS = 2.0


class Feeding:
    """One feed, what it has told, and the copy of that. `take` gets all news."""

    def __init__(self, feed: RouterFeed, take: Callable[[News], None], copy: RouterCopy | None) -> None:
        self._feed = feed
        self._take = take
        self._copy = copy
        self._task: asyncio.Task[None] | None = None
        self._copy_due: float | None = None
        self._told: set[str] = set()
        self._copied_at: float | None = None

    def start(self, now: float) -> None:
        """Begins; `now` is the loop's clock."""
        self._copy_due = now + PATIENCE_SECONDS
        self._task = asyncio.get_running_loop().create_task(self._run())

    def tick(self, now: float) -> None:
        """A quarter of a second has passed."""
        if self._copy is None:
            return
        if self._copy_due is not None and now >= self._copy_due:
            self._copy_due = None
            self._take_copy(self._copy)
        self._copy.tick(now)

    def stop(self) -> None:
        """The process ends."""
        if self._task is not None:
            self._task.cancel()
        if self._copy is not None:
            self._copy.close()

    def copy_age(self, wall: float) -> float | None:
        """How old the table is, in seconds, if it is the copy's; else None."""
        return None if self._copied_at is None else max(0.0, wall - self._copied_at)

    async def _run(self) -> None:
        while True:
            try:
                await self._feed.run(self._tell)
                log.error("the feed of the router has ended: it is run again")
            except Exception as error:
                log.error("the feed of the router has failed: it is run again: %s", _causes(error))
            await asyncio.sleep(AGAIN_SECONDS)

    def _tell(self, news: News) -> None:
        self._told |= {name for name in News.__struct_fields__ if getattr(news, name) is not None}
        if news.table is not None:
            self._copied_at = None
        if self._copy is not None:
            self._copy.note(news, time.time())
        self._take(news)

    def _take_copy(self, copy: RouterCopy) -> None:
        """Parts that the feed has told meanwhile stay its own."""
        kept = copy.kept
        if "table" in self._told or kept.table is None:
            return
        parts = {name: getattr(kept, name) for name in News.__struct_fields__ if name not in self._told}
        self._copied_at = kept.at
        log.warning("the router's feed says nothing: the table is a copy of %s", _time(kept.at))
        self._take(News(**parts))


def _causes(error: Exception) -> str:
    """What went wrong, in one line: a feed may do several things at once."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(_causes(part) for part in error.exceptions)
    return f"{type(error).__name__}: {error}"


def _time(wall: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall))
