"""Rate limits: at most n calls in any 60 seconds. Pure: the clock is an argument.

A sliding window in steps of one second. A call counts from its own second until 60 whole seconds later, so that a
place is free after 60 to 61 s: rounded to the safe side, never more than n in any 60 s. (A token bucket would admit 2
n.)
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from model_serving.proxy.auth import Principal
from model_serving.proxy.call import Fields
from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy_config import Limit

WINDOW_SECONDS = 60


class Window:
    """The calls of the last minute, counted by second."""

    __slots__ = ("_steps", "total")

    def __init__(self) -> None:
        self._steps: deque[list[int]] = deque()  # [second, calls], oldest first
        self.total = 0

    def count(self, second: int) -> int:
        """How many calls may lie within the 60 seconds before any moment of `second`."""
        oldest = second - WINDOW_SECONDS
        steps = self._steps
        while steps and steps[0][0] < oldest:
            self.total -= steps.popleft()[1]
        return self.total

    def add(self, second: int) -> None:
        """Counts a call."""
        if self._steps and self._steps[-1][0] >= second:  # also when the clock stood still
            self._steps[-1][1] += 1
        else:
            self._steps.append([second, 1])
        self.total += 1

    def wait(self, calls: int, now: float) -> float:
        """Seconds until one more call fits under `calls`; a window when it never will."""
        excess = self.count(math.floor(now)) - calls + 1
        if calls <= 0:
            return WINDOW_SECONDS
        for second, count in self._steps:
            excess -= count
            if excess <= 0:
                return second + WINDOW_SECONDS + 1 - now
        return 0.0


class Asking(msgspec.Struct, frozen=True, gc=False):
    """A call that asks to be admitted."""

    principal: Principal
    body: bytes
    fields: Fields


class Reservation:
    """What a call has been admitted for; settled exactly once, when the call has ended."""

    __slots__ = ("head",)

    def __init__(self) -> None:
        self.head = b""
        """Header lines for the answer."""

    def settle(self, tokens: int | None, now: float) -> None:
        """The call has ended and used `tokens`; None when the provider did not say."""


class Limiter:
    """The windows of one endpoint. They outlive policies: a changed n applies to what was already admitted."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], Window] = {}

    def reserve(
        self, limits: Sequence[Limit], asking: Asking, now: float, again: Callable[[], None]
    ) -> Reservation | None:
        """Admits a call under all limits, or under none: LimitExceeded names the limit and when to come back.

        None: nothing is decided yet, `again` is called when it is worth asking once more.
        """
        user = asking.principal.name
        second = math.floor(now)
        windows: list[Window] = []
        for limit in limits:
            window = self._window(limit.key, user)
            if window.count(second) >= limit.calls:
                raise refused(limit, window.wait(limit.calls, now))
            if window not in windows:  # two limits of one kind share a window
                windows.append(window)
        for window in windows:
            window.add(second)
        return Reservation()

    def sweep(self, now: float) -> None:
        """Forgets the windows that are empty; called every few seconds."""
        for key in [key for key, window in self._windows.items() if not window.count(math.floor(now))]:
            del self._windows[key]

    def _window(self, key: str, user: str) -> Window:
        name = (key, user if key == "user" else "")
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = Window()
        return window


def refused(limit: Limit, wait: float) -> LimitExceeded:
    """The answer to a call that `limit` refuses."""
    whom = "each user" if limit.key == "user" else "the endpoint"
    if limit.calls <= 0:
        return LimitExceeded(f"{whom} may make no calls: the limit is 0 per minute", limit.key, wait)
    seconds = max(1, math.ceil(wait))
    return LimitExceeded(
        f"{whom} may make {limit.calls} calls per minute: the next one in {seconds} s", limit.key, wait
    )
