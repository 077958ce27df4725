"""When to look at an endpoint again, and when its kubelets are to be nudged: the reconciler's memory of one endpoint.

Pure but for what it remembers; the clock is an argument. Losing it costs nothing but a little patience.
"""

from __future__ import annotations

from dataclasses import dataclass

SETTLED_SECONDS = 60.0
UNSETTLED_SECONDS = 2.0
LISTS_PER_SECOND = 20
"""While many endpoints are unsettled at once, all of them together cause at most so many looks per second."""
_WATCHED_AFTER_NUDGE = 15.0
_LONGEST_NUDGE_PAUSE = 15.0


@dataclass(slots=True)
class Pulse:
    """What is remembered of one endpoint between two looks at it; times in seconds of a monotonic clock."""

    spread: float
    """0 to 1, different for every endpoint, so that they are not all looked at together."""
    detail_due: float = 0.0
    token: str | None = None
    """What the mounted files should say by now: policy and reload wish. None: not known since the operator started."""
    attempt: int = 0
    nudge_due: float = 0.0
    watched_until: float = 0.0

    def wants_nudge(self, token: str, lagging: bool, now: float) -> str | None:
        """The value to put on the pods now, or None. A kubelet may have been nudged a moment too early, before it
        knew of the change itself: so it is done again while there is reason to."""
        first = self.token is None
        if self.token != token:
            self.token, self.attempt, self.nudge_due = token, 0, now
            if first and not lagging:
                return None
            self.watched_until = now + _WATCHED_AFTER_NUDGE
        if now < self.nudge_due or not (lagging or (now < self.watched_until and self.attempt < 2)):
            return None
        self.attempt += 1
        self.nudge_due = now + min(2.0**self.attempt, _LONGEST_NUDGE_PAUSE)
        return f"{token}-{self.attempt}"

    def next_look(self, settled: bool, unsettled_endpoints: int, now: float) -> float:
        """Seconds until the next look that nothing else asks for; sets when detail is due."""
        if settled and now >= self.watched_until:
            pause = SETTLED_SECONDS * (0.75 + self.spread / 2)
        else:
            pause = max(UNSETTLED_SECONDS, unsettled_endpoints / LISTS_PER_SECOND)
        self.detail_due = now + pause * 0.9
        return pause
