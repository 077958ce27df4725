"""A store that behaves like `limits/script.py`, in Python and with a clock of its own. Deterministic."""

from __future__ import annotations

import math
from collections.abc import Sequence

Number = int | str


class FakeStore:
    """Holds counters. `skip` sets its clock forward or back, `restart` loses everything."""

    def __init__(self, span: int) -> None:
        self.span = span
        self.offset = 0.0
        self.run = 1
        self.epoch = b""
        self.skew = self.last = self.opens = 0
        self.stored_run = ""
        self.counters: dict[str, dict[int, int]] = {}

    def skip(self, seconds: float) -> None:
        """Sets the clock."""
        self.offset += seconds

    def restart(self) -> None:
        """Another run, without data."""
        self.run += 1
        self.epoch, self.skew, self.last, self.opens, self.stored_run = b"", 0, 0, 0, ""
        self.counters = {}

    def answer(self, real: float, settings: Sequence[int], names: Sequence[str], numbers: list[int]) -> list[int]:
        """What the script returns at `real`; settings: lease in milliseconds, parts, latest, a number for an epoch."""
        lease, parts, latest, fresh = settings
        raw = int((real + self.offset) * 1000) + 10**6
        t = raw - self.skew
        if 0 <= latest < t - 1000:
            t = latest
        t = max(t, self.last)
        if not self.epoch or self.stored_run != str(self.run):
            self.epoch, self.stored_run = b"%d" % fresh, str(self.run)
            self.opens = t + (self.span + 1) * 1000 + lease
        self.skew, self.last = raw - t, t
        second = t // 1000
        granting = t >= self.opens
        reply: list[int] = [self.epoch, 0 if granting else self.opens - t, t, second]  # type: ignore[list-item]
        for name in names:
            most, charge, need, least, want, returns = (numbers.pop(0) for _ in range(6))
            entries = self.counters.setdefault(name, {})
            for step in [step for step in entries if step < second - self.span or entries[step] <= 0]:
                del entries[step]
            for _ in range(returns):
                step, amount = numbers.pop(0), numbers.pop(0)
                if step in entries:
                    entries[step] -= min(amount, entries[step])
            if charge:
                entries[second] = entries.get(second, 0) + charge
            ends = (t + lease) // 1000
            granted, wait, room = 0, 0, most - sum(entries.values())
            if granting and need + want > 0:
                if room > 0 and (need == 0 or room >= least):
                    granted = min(room, need)
                    extra = min(want, math.floor((room - granted) / (2 * parts)))
                    granted += extra if extra >= least else 0
                    entries[ends] = entries.get(ends, 0) + granted
                wait = 100 if granted < need else 0
            reply += [granted, ends, sum(entries.values()), wait]
        return reply
