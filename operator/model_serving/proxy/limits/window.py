"""One sliding window: how much of a limit the last minute has used. Pure; `limiter.py` keeps one per counter.

Steps of one second. What is counted in a second counts until 60 whole seconds later, so that a place is free after 60
to 61 s: rounded to the safe side, never more than n in any 60 s. (A token bucket would admit 2 n.)
"""

from __future__ import annotations

from collections import deque
from typing import Any

WINDOW_SECONDS = 60
HELD_SECONDS = 5.0
"""What is told to who waits for tokens that calls under way have reserved: nobody knows when they end."""


class Window:
    """An amount (calls, or tokens) by second. `total` is what counts now: the steps and what is held."""

    __slots__ = ("account", "held", "name", "second", "span", "step", "steps", "total")

    def __init__(self, name: str = "", span: int = WINDOW_SECONDS) -> None:
        self.name = name
        self.span = span
        self.step: list[int] = [0, 0]
        """The current step: its second, and the amount counted in it."""
        self.steps: deque[list[int]] = deque((self.step,))
        """Oldest first, the current one last."""
        self.second = 0
        self.held = 0
        """Reserved for calls under way, whatever their age."""
        self.total = 0
        self.account: Any = None
        """What `ledger.py` knows of this counter in the common store."""

    def advance(self, second: int) -> None:
        """Makes `second` the current step and forgets what is too old. A clock that runs back stands still here."""
        if second <= self.second:
            return
        self.second = second
        oldest = second - self.span
        steps = self.steps
        while steps and steps[0][0] < oldest:
            self.total -= steps.popleft()[1]
        if steps and not steps[-1][1]:
            self.step[0] = second
        else:
            self.step = [second, 0]
            steps.append(self.step)

    def add(self, amount: int) -> None:
        """Counts in the current step."""
        self.step[1] += amount
        self.total += amount

    def take_back(self, second: int, amount: int) -> None:
        """Uncounts what was counted in `second`, unless that is too old to count any more."""
        for step in reversed(self.steps):
            if step[0] == second:
                self.total -= amount
                step[1] -= amount
                return

    def hold(self, amount: int) -> None:
        """Reserves for a call whose real use is not known yet."""
        self.held += amount
        self.total += amount

    def settle(self, held: int, used: int, second: int) -> None:
        """Ends a hold: what was really used counts from now on, as a debt if it is more."""
        if second > self.second:
            self.advance(second)
        self.held -= held
        self.total += used - held
        self.step[1] += used

    def wait(self, amount: int, most: int, now: float) -> float:
        """Seconds until `amount` more fits under `most`; 0 when it does. A window when it never will."""
        excess = self.total + amount - most
        if excess <= 0:
            return 0.0
        if most < amount:
            return float(self.span)
        for second, counted in self.steps:
            excess -= counted
            if excess <= 0:
                return max(second + self.span + 1 - now, 0.001)
        return HELD_SECONDS

    def idle(self, second: int) -> bool:
        """Whether nothing counts."""
        self.advance(second)
        return not self.total and not self.held
