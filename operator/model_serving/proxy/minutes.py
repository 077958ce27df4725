"""What calls amount to, by served entity: in this minute, in each of the last sixty, and since the process began.

Counted once, when a call has ended, into the minute's tally; metrics and charts are two ways to look at the same
numbers. Used by `journal.py`; read by `metrics.py` and `admin.py`. No clock: `turn` is told the time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator

import msgspec

from model_serving.proxy.course import Course
from model_serving.proxy.errors import code_of

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the buckets of durations."""
TOKEN_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets of times between two tokens."""
KEPT = 60


class Tally:
    """Calls of one served entity. Times in seconds; the lists are counts by bucket."""

    __slots__ = (
        "cached", "durations", "failed", "first_seconds", "firsts", "gap_seconds", "gaps", "input", "ok", "output",
        "reasoning", "seconds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ok = 0
        self.failed: dict[tuple[int, str], int] = {}
        """By status and error code."""
        self.input = self.output = self.cached = self.reasoning = 0
        self.seconds = self.first_seconds = self.gap_seconds = 0.0
        self.durations = [0] * (len(SECONDS) + 1)
        self.firsts = [0] * (len(SECONDS) + 1)
        self.gaps = [0] * (len(TOKEN_SECONDS) + 1)

    @property
    def errors(self) -> int:
        """Calls that failed."""
        return sum(self.failed.values())

    @property
    def calls(self) -> int:
        """All calls."""
        return self.ok + self.errors

    def count(self, course: Course, now: float) -> None:
        """Counts a call that has ended at `now`."""
        status = course.status
        if status == 200:
            self.ok += 1
        else:
            outcome = (status, course.error_code or code_of(status))
            self.failed[outcome] = self.failed.get(outcome, 0) + 1
        seconds = now - course.began
        self.durations[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds
        usage = course.usage
        if usage is not None:
            self.input += usage.prompt_tokens
            self.output += usage.completion_tokens
            self.cached += usage.cached_tokens
            self.reasoning += usage.reasoning_tokens
        if course.pieces:
            self._count_stream(course, now)

    def add(self, other: Tally) -> None:
        """Adds what another tally holds."""
        self.ok += other.ok
        for outcome, number in other.failed.items():
            self.failed[outcome] = self.failed.get(outcome, 0) + number
        for name in ("input", "output", "cached", "reasoning", "seconds", "first_seconds", "gap_seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("durations", "firsts", "gaps"):
            setattr(self, name, [a + b for a, b in zip(getattr(self, name), getattr(other, name), strict=True)])

    def _count_stream(self, course: Course, now: float) -> None:
        first = course.first_byte
        wait = first - course.began
        self.firsts[bisect_left(SECONDS, wait)] += 1
        self.first_seconds += wait
        usage = course.usage
        steps = (usage.completion_tokens if usage is not None and usage.completion_tokens else course.pieces) - 1
        if steps > 0:
            gap = ((course.last_byte or now) - first) / steps
            self.gaps[bisect_left(TOKEN_SECONDS, gap)] += 1
            self.gap_seconds += gap


class Minute(msgspec.Struct, frozen=True):
    """One minute of one served entity, as the admin port shows it. `start` in seconds since the epoch."""

    entity: str
    start: int
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    seconds: float
    """All durations together."""
    durations: list[int]
    """Calls by duration; the bounds stand beside the minutes."""
    first_token_seconds: float
    streams: int


class Minutes:
    """The tallies of one process."""

    def __init__(self) -> None:
        self.current: dict[str, Tally] = {}
        """This minute's, by served entity; replaced when it is over. The empty name: calls that reached none."""
        self.start = 0
        self._past: deque[tuple[int, dict[str, Tally]]] = deque()
        self._totals: dict[str, Tally] = {}

    def turn(self, wall: float) -> None:
        """Begins a new minute when `wall`, in seconds since the epoch, says so; called a few times a second."""
        start = int(wall // 60) * 60
        if start == self.start:
            return
        for entity, tally in self.current.items():
            self._totals.setdefault(entity, Tally()).add(tally)
        if self.current:
            self._past.append((self.start, self.current))
            self.current = {}
        self.start = start
        while self._past and (self._past[0][0] <= start - KEPT * 60 or len(self._past) >= KEPT):
            self._past.popleft()

    def begin(self, entity: str) -> Tally:
        """An entity's tally for this minute, made on its first call."""
        tally = self.current[entity] = Tally()
        return tally

    def totals(self) -> dict[str, Tally]:
        """Everything since the process began, by served entity."""
        found: dict[str, Tally] = {}
        for tallies in (self._totals, self.current):
            for entity, tally in tallies.items():
                found.setdefault(entity, Tally()).add(tally)
        return found

    def shown(self) -> Iterator[Minute]:
        """The minutes that had calls, oldest first, this one last."""
        for start, tallies in (*self._past, (self.start, self.current)):
            for entity, tally in tallies.items():
                yield _shown(entity, start, tally)


def _shown(entity: str, start: int, tally: Tally) -> Minute:
    return Minute(
        entity=entity,
        start=start,
        calls=tally.calls,
        errors=tally.errors,
        input_tokens=tally.input,
        output_tokens=tally.output,
        cached_tokens=tally.cached,
        reasoning_tokens=tally.reasoning,
        seconds=round(tally.seconds, 6),
        durations=tally.durations,
        first_token_seconds=round(tally.first_seconds, 6),
        streams=sum(tally.firsts),
    )
