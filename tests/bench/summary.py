"""From samples to figures: medians over the rounds, ratios within each round, and the budgets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.figures import Cost, Line
from tests.bench.rounds import Sample
from tests.bench.targets import Target
from tests.bench.workload import BURST, MANY, SPARSE, TYPICAL, Shape

NGINX, ENVOY, PROXY, BOTH = "nginx", "Envoy", "proxy", "router + proxy"
REFERENCES = (NGINX, ENVOY)
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Figure:
    """One target with one shape. `cost_us`: CPU per unit, median of the rounds.

    `ratios`: to each reference, by name: the median of the rounds' own ratios."""

    unit: str
    cost_us: float
    lowest_us: float
    highest_us: float
    ratios: dict[str, float]
    units_per_second: float
    p50_us: float
    p99_us: float
    units: int
    failed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One target. `loaded_mib`: resident memory with the most callers; None when that was not measured."""

    name: str
    start_seconds: float
    idle_mib: float
    loaded_mib: float | None
    figures: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Budget:
    """One promise of the design, and what this run says of it; `found` is None when the run cannot tell."""

    what: str
    limit: float
    unit: str
    found: float | None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether this run keeps it."""
        if self.found is None:
            return None
        return self.found >= self.limit if self.at_least else self.found <= self.limit


@dataclass(frozen=True, slots=True)
class Summary:
    """All that one run has found. `does`: what each target does for a call; `left_out`: peers, with the reason."""

    rows: list[Row]
    budgets: list[Budget]
    interpreter: str = ""
    does: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    in_process: list[Cost] = field(default_factory=list)
    profile: list[Line] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Windows in which calls failed or none were answered: their costs mean nothing."""
        return [
            f"{row.name}, {shape}: {figure.failed} calls failed, {figure.units} {figure.unit}s counted"
            for row in self.rows
            for shape, figure in row.figures.items()
            if figure.failed or not figure.units
        ]


def summarise(
    targets: Sequence[Target], shapes: Sequence[Shape], samples: Sequence[Sample]
) -> tuple[list[Row], list[Budget]]:
    """The figures of a run, and what they say of the budgets."""
    rows = [_row(target, shapes, samples) for target in targets]
    return rows, _budgets({row.name: row for row in rows}, samples)


def ratio(samples: Sequence[Sample], shape: str, above: str, below: str) -> float | None:
    """How many times the cost of `below` is that of `above`: the median of the rounds' own ratios."""
    top, bottom = ({s.round: s.cost_us for s in samples if (s.target, s.shape) == (n, shape)} for n in (above, below))
    found = [top[number] / bottom[number] for number in top if bottom.get(number)]
    return median(found) if found else None


def _row(target: Target, shapes: Sequence[Shape], samples: Sequence[Sample]) -> Row:
    own = [sample for sample in samples if sample.target == target.name]
    loaded = [sample.resident_bytes for sample in own if sample.shape == MANY.name]
    return Row(
        name=target.name,
        start_seconds=target.start_seconds,
        idle_mib=target.idle_bytes / MIB,
        loaded_mib=max(loaded) / MIB if loaded else None,
        figures={shape.name: _figure(target.name, shape, samples) for shape in shapes},
    )


def _figure(name: str, shape: Shape, samples: Sequence[Sample]) -> Figure:
    of_it = [sample for sample in samples if (sample.target, sample.shape) == (name, shape.name)]
    costs = [sample.cost_us for sample in of_it]
    return Figure(
        unit=shape.unit,
        cost_us=median(costs),
        lowest_us=min(costs),
        highest_us=max(costs),
        ratios={below: found for below in REFERENCES if (found := ratio(samples, shape.name, name, below)) is not None},
        units_per_second=median(sample.units / sample.seconds for sample in of_it),
        p50_us=median(sample.p50_us for sample in of_it),
        p99_us=median(sample.p99_us for sample in of_it),
        units=sum(sample.units for sample in of_it),
        failed=sum(sample.failed for sample in of_it),
    )


def _budgets(rows: dict[str, Row], samples: Sequence[Sample]) -> list[Budget]:
    def cost(what: str, limit: float, shape: Shape, below: str) -> Budget:
        return Budget(what, limit, "×", ratio(samples, shape.name, PROXY, below))

    both = ratio(samples, TYPICAL.name, BOTH, PROXY)
    burst = ratio(samples, BURST.name, ENVOY, PROXY)
    proxy = rows.get(PROXY)
    return [
        cost("proxy, 1 KB call: CPU to nginx's", 2.1, TYPICAL, NGINX),
        cost("proxy, 1 KB call: CPU to Envoy's", 0.8, TYPICAL, ENVOY),
        Budget(
            "LiteLLM, 1 KB call: CPU to the proxy's", 200, "×", ratio(samples, TYPICAL.name, "LiteLLM", PROXY), True
        ),
        cost("proxy, sparse event: CPU to Envoy's", 1.0, SPARSE, ENVOY),
        Budget("proxy, burst streams per second of CPU to Envoy's", 0.6, "×", burst, True),
        Budget("router, 1 KB call: adds to the proxy's CPU", 1.1, "×", None if both is None else both - 1),
        Budget("proxy, resident memory idle", 35, "MiB", proxy.idle_mib if proxy else None),
        Budget("proxy, resident memory with 256 callers", 50, "MiB", proxy.loaded_mib if proxy else None),
        Budget("proxy, start to first answer", 0.6, "s", proxy.start_seconds if proxy else None),
    ]
