"""Whether something grows: the slope of samples over time, with an honest error. Pure; used by `soak.py`.

Neighbouring samples of memory resemble each other, so that a plain regression would be far too sure of itself. The
samples are therefore joined to a few blocks, and the scatter of the blocks' means about the line gives the error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

BLOCKS = 8
SETTLING = 0.4
"""The first part of the samples is not looked at: pools fill, caches grow to their bounds."""
_SURE = 2.45  # 95 % of Student's t with BLOCKS - 2 degrees of freedom
LEAST_SECONDS = 90.0
"""What is looked at must be longer: the limits' windows take a minute to fill."""
HARMLESS = 1.0
"""MiB that the whole run may gain: an allocator's pages and a cache's last entries."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The slope in MiB per hour, its error (95 %), and MiB gained over the seconds that were looked at."""

    slope: float
    error: float
    gained: float

    @property
    def verdict(self) -> str:
        """`flat`, `grows`, or `cannot tell` when the noise hides a growth that would matter."""
        if self.slope - self.error > 0 and self.gained > HARMLESS:
            return "grows"
        hidden = self.gained / self.slope * (self.slope + self.error) if self.slope else 0.0
        return "flat" if max(self.gained, hidden) <= 4 * HARMLESS else "cannot tell"


def trend(samples: Sequence[tuple[float, float]]) -> Trend | None:
    """The trend of (seconds, MiB); None when there are too few samples, or over too short a time, to say anything."""
    late = samples[int(len(samples) * SETTLING) :]
    size = len(late) // BLOCKS
    if size < 2 or late[-1][0] - late[0][0] < LEAST_SECONDS:
        return None
    blocks = [late[number * size : (number + 1) * size] for number in range(BLOCKS)]
    times = [fmean(second for second, _ in block) for block in blocks]
    values = [fmean(value for _, value in block) for block in blocks]
    middle, level = fmean(times), fmean(values)
    spread = sum((second - middle) ** 2 for second in times)
    slope = sum((second - middle) * (value - level) for second, value in zip(times, values, strict=True)) / spread
    rest = sum((value - level - slope * (second - middle)) ** 2 for second, value in zip(times, values, strict=True))
    error = _SURE * math.sqrt(rest / (BLOCKS - 2) / spread)
    return Trend(slope * 3600, error * 3600, slope * (late[-1][0] - late[0][0]))
