"""Moments of the loop's clock as text, for the access log. Told the time by a tick; no clock of its own."""

from __future__ import annotations

import time


class Stamps:
    """Turns moments into ISO 8601 in UTC, to the millisecond."""

    def __init__(self) -> None:
        self._offset = 0.0
        """From the loop's clock to seconds since the epoch."""
        self._second = -1
        self._second_text = ""

    def tick(self, now: float, wall: float) -> None:
        """`now` by the loop's clock is `wall` in seconds since the epoch."""
        self._offset = wall - now

    def of(self, now: float) -> str:
        """The text of a moment."""
        moment = now + self._offset
        second = int(moment)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return "%s.%03dZ" % (self._second_text, (moment - second) * 1000)  # noqa: UP031 - twice as fast
