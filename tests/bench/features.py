"""What each feature costs: proxies that differ in one feature, in the same rounds. `make bench FEATURES=1`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import msgspec
from rich.table import Table

from tests.bench.figures import Cost
from tests.bench.peers.base import Say
from tests.bench.report import titled
from tests.bench.rounds import Effort, Sample
from tests.bench.run import Plan, hot_path, measured, surroundings
from tests.bench.summary import PROXY
from tests.bench.variants import VARIANTS
from tests.bench.workload import SPARSE, TYPICAL

_CASES = {TYPICAL: "json-1k", SPARSE: "event"}


class Saving(msgspec.Struct, frozen=True):
    """What a call or event costs with a feature off, and how much less that is, in µs of CPU.

    `inside_us`: how much less the proxy's own code takes, without the kernel; the steadier of the two."""

    variant: str
    shape: str
    cost_us: float
    saved_us: float
    lowest_us: float
    highest_us: float
    inside_us: float


class Comparison(msgspec.Struct, frozen=True):
    """All of one run."""

    interpreter: str
    savings: list[Saving]


def compare(effort: Effort, say: Say) -> Comparison:
    """Measures the variants. Unavailable when something that is needed is missing."""
    plan = Plan(replace(effort, rounds=2 * effort.rounds), tuple(VARIANTS), tuple(_CASES))
    with surroundings(say) as (around, folder):
        inside = hot_path(around.python, say, "--features")
        _, _, samples = measured(plan, around, folder)
    return Comparison(around.python.name, _savings(samples, inside.costs))


def _savings(samples: Sequence[Sample], inside: Sequence[Cost]) -> list[Saving]:
    least = {cost.name: cost.least_us for cost in inside}
    found = []
    for shape, case in _CASES.items():
        costs = {(s.target, s.round): s.cost_us for s in samples if s.shape == shape.name}
        rounds = sorted({number for _, number in costs})
        for variant in VARIANTS:
            saved = [costs[PROXY, number] - costs[variant, number] for number in rounds]
            found.append(
                Saving(
                    variant=variant,
                    shape=shape.name,
                    cost_us=median(costs[variant, number] for number in rounds),
                    saved_us=median(saved),
                    lowest_us=min(saved),
                    highest_us=max(saved),
                    inside_us=least[f"{case}, {PROXY}"] - least[f"{case}, {variant}"],
                )
            )
    return found


def table(found: Comparison) -> Table:
    """The figures for people."""
    title = f"What a feature costs: CPU in µs per call or event ({found.interpreter})"
    columns = ("", "shape", "with everything else", "saved: median (range of the rounds)", "saved in our own code")
    shown = titled(title, columns)
    for one in found.savings:
        span = f"{one.saved_us:.1f} ({one.lowest_us:.1f} to {one.highest_us:.1f})"
        own = "" if one.variant == PROXY else f"{one.inside_us:.2f}"
        shown.add_row(one.variant, one.shape, f"{one.cost_us:.1f}", "" if one.variant == PROXY else span, own)
    return shown
