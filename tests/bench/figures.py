"""What `hot_path.py` finds, as values: it runs in a process of its own, on some Python, and hands on JSON."""

from __future__ import annotations

import msgspec


class Cost(msgspec.Struct, frozen=True):
    """What one case costs, in microseconds of CPU per call or event.

    `functions`, `builtins`: how many calls of each one proxied call makes."""

    name: str
    least_us: float
    median_us: float
    functions: float = 0.0
    builtins: float = 0.0


class Line(msgspec.Struct, frozen=True):
    """One function of a profile: calls of it and its own time, per proxied call. The profiler's own cost is in it."""

    function: str
    calls: float
    own_us: float


class Found(msgspec.Struct, frozen=True):
    """All of a run. `profiles`: the dearest functions by case."""

    interpreter: str
    costs: list[Cost]
    profiles: dict[str, list[Line]] = {}
