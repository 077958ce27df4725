"""Faults by rate: some of the calls go wrong without anybody's wish. Called by `server.py`; pure but for its dice.

The same seed gives the same faults in the same order.
"""

from __future__ import annotations

import random
from dataclasses import replace

from model_serving.demo_provider.wishes import Wish

FAULTS: tuple[dict[str, object], ...] = (
    {"status": 500},
    {"status": 503},
    {"status": 429, "retry_after": 2},
    {"status": 529},
    {"cut_head": True},
    {"cut_head": True, "reset": True},
    {"cut_mid_head": True},
    {"cut": 1},
    {"cut": 1, "reset": True},
    {"cut_chunk": True},
    {"open_end": True},
    {"too_long": True},
    {"too_short": True},
    {"garbage": True},
    {"babble": True},
    {"broken_json": True},
    {"head": 200_000},
    {"type": "text/html"},
    {"slow": 0.0005},
)
"""What may happen; each as often as the others."""


class Dice:
    """Decides about each call."""

    def __init__(self, error_rate: float, longest_delay: float, seed: int) -> None:
        self._error_rate = error_rate
        self._longest_delay = longest_delay
        self._random = random.Random(seed)

    def cast(self, wish: Wish) -> Wish:
        """The call's own wish, or what fate has for a call that has none."""
        if wish != Wish(events=wish.events, pace=wish.pace):
            return wish
        if self._longest_delay:
            wish = replace(wish, delay=self._random.uniform(0, self._longest_delay))
        if self._random.random() < self._error_rate:
            fault: dict[str, object] = self._random.choice(FAULTS)
            wish = replace(wish, **fault)  # type: ignore[arg-type]
        return wish
