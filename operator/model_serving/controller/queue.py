"""A de-duplicating work queue: one key at a time is worked on by one worker, however often it is added meanwhile.

Fed by `handlers.py` and by watches, worked off by the reconciler. A key whose work failed comes back after a growing
pause, and never sooner than a second after the failure, whatever events ask for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from model_serving.kube.errors import TooManyRequests

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

Work = Callable[[K], Awaitable[float | None]]
"""Works on a key; the answer is the number of seconds after which to look again, None for only when asked."""


class Handle(Protocol):
    """A call that can be called off."""

    def cancel(self) -> object:
        """Calls it off."""


class Clock(Protocol):
    """The part of an event loop that a queue needs; tests bring their own."""

    def time(self) -> float:
        """Seconds."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Calls `callback(*args)` after `delay` seconds."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause after the n-th failure in a row, in seconds: doubling from `base` up to `cap`, with jitter above."""

    base: float = 1.0
    cap: float = 300.0
    jitter: float = 0.25

    def pause(self, failures: int, rand: float) -> float:
        """`rand` is in [0, 1)."""
        return float(min(self.cap, self.base * 2.0 ** min(failures - 1, 30)) * (1 + self.jitter * rand))


class Queue(Generic[K]):
    """Keys that wait to be worked on. Not thread-safe: everything happens in one event loop."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        rand: Callable[[], float] = random.random,
        backoff: Backoff | None = None,
        work_seconds: float = 120.0,
    ) -> None:
        self._clock: Clock = clock or asyncio.get_running_loop()
        self._rand = rand
        self._backoff = backoff or Backoff()
        self._work_seconds = work_seconds
        self._waiting: dict[K, float] = {}
        self._order: deque[K] = deque()
        self._busy: dict[K, float] = {}
        self._later: dict[K, tuple[float, Handle]] = {}
        self._failures: dict[K, int] = {}
        self._not_before: dict[K, float] = {}
        self._wake = asyncio.Event()
        self.progressed_at = self._clock.time()

    def add(self, key: K) -> None:
        """Asks for `key` to be worked on as soon as possible: after its present work, or its pause after a failure."""
        if key in self._waiting:
            return
        wait = self._not_before.get(key, 0.0) - self._clock.time()
        if wait > 0:
            self.add_after(key, wait)
            return
        self._unschedule(key)
        self._waiting[key] = self._clock.time()
        if key not in self._busy:
            self._order.append(key)
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Asks for `key` after some time; of several such wishes the earliest counts."""
        due = self._clock.time() + seconds
        known = self._later.get(key)
        if known is not None and known[0] <= due:
            return
        self._unschedule(key)
        self._later[key] = due, self._clock.call_later(seconds, self._due, key)

    def forget(self, key: K) -> None:
        """The key is gone for good: no pause, no later visit."""
        self._unschedule(key)
        self._failures.pop(key, None)
        self._not_before.pop(key, None)

    def failures(self, key: K) -> int:
        """How often in a row the work on `key` has failed."""
        return self._failures.get(key, 0)

    @property
    def depth(self) -> int:
        """How many keys wait."""
        return len(self._waiting)

    @property
    def oldest_age(self) -> float:
        """How long the longest waiting key waits for a worker, in seconds. A key that is busy does not wait for one."""
        now = self._clock.time()
        return max((now - since for key, since in self._waiting.items() if key not in self._busy), default=0.0)

    @property
    def longest_work(self) -> float:
        """How long the longest present work takes already, in seconds."""
        now = self._clock.time()
        return max((now - since for since in self._busy.values()), default=0.0)

    async def run(self, work: Work[K], workers: int) -> None:
        """Works keys off until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._worker(work), name=f"queue worker {number}")

    async def _worker(self, work: Work[K]) -> None:
        while True:
            key = await self._take()
            try:
                async with asyncio.timeout(self._work_seconds):
                    again = await work(key)
                self._succeeded(key, again)
            except Exception as error:
                self._failed(key, error)
            finally:
                self._release(key)

    async def _take(self) -> K:
        while not self._order:
            self._wake.clear()
            await self._wake.wait()
        key = self._order.popleft()
        del self._waiting[key]
        self._unschedule(key)
        self._busy[key] = self._clock.time()
        return key

    def _succeeded(self, key: K, again: float | None) -> None:
        self._failures.pop(key, None)
        self._not_before.pop(key, None)
        if again is not None and key not in self._waiting:
            self.add_after(key, again)

    def _failed(self, key: K, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = self._backoff.pause(failures, self._rand())
        if isinstance(error, TooManyRequests):
            pause = max(pause, error.retry_after)
        now = self._clock.time()
        self._not_before[key] = now + min(pause, self._backoff.base)
        # An event that came meanwhile has seen nothing that the next try will not see.
        self._waiting.pop(key, None)
        self.add_after(key, pause)
        log.warning("work on %s failed (%d in a row): %s; again in %.1f s", key, failures, _words(error), pause)

    def _release(self, key: K) -> None:
        self.progressed_at = self._clock.time()
        self._busy.pop(key, None)
        if key in self._waiting:
            self._order.append(key)
            self._wake.set()

    def _due(self, key: K) -> None:
        self._later.pop(key, None)
        self.add(key)

    def _unschedule(self, key: K) -> None:
        known = self._later.pop(key, None)
        if known is not None:
            known[1].cancel()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
