"""A run's figures for people (tables) and for programs (JSON)."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench.figures import Cost, Line
from tests.bench.summary import Budget, Figure, Row, Summary
from tests.bench.workload import TYPICAL, Shape

SHOWN_LINES = 15


def as_json(summary: Summary) -> str:
    """The figures, with the budgets and what is wrong."""
    found = asdict(summary) | {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
        "budgets": [asdict(budget) | {"met": budget.met} for budget in summary.budgets],
        "in_process": msgspec.to_builtins(summary.in_process),
        "profile": msgspec.to_builtins(summary.profile),
        "faults": summary.faults,
    }
    return json.dumps(found, indent=2)


def show(summary: Summary, shapes: Sequence[Shape], console: Console) -> None:
    """Prints the tables."""
    calls = [shape for shape in shapes if not shape.stream]
    streams = [shape for shape in shapes if shape.stream]
    for some in filter(None, (calls, streams)):
        console.print(_costs(summary.rows, some))
    console.print(_processes(summary.rows))
    console.print(_promises(summary.budgets))
    if summary.in_process:
        console.print(costs_table(summary.in_process, summary.interpreter))
        console.print(profile_table("json-1k", summary.profile[:SHOWN_LINES]))
    for name, does in summary.does.items():
        console.print(f"{name}: {does}")
    console.print(
        f"{datetime.now(UTC).date()}, {platform.machine()}; proxy and router on {summary.interpreter}. "
        "All targets share one core, one at a time."
    )
    for name, reason in summary.left_out.items():
        console.print(f"{name} is left out: {reason}", markup=False)
    for fault in summary.faults:
        console.print(f"[red]not valid:[/] {fault}")


def costs_table(costs: Sequence[Cost], interpreter: str) -> Table:
    """What the proxy's own code costs."""
    title = f"The proxy's own code without the kernel: CPU in µs per call, or event ({interpreter})"
    table = titled(title, ("", "least", "median", "Python calls", "builtin calls"))
    for cost in costs:
        counts = [f"{cost.functions:.1f}", f"{cost.builtins:.1f}"] if cost.functions else ["", ""]
        table.add_row(cost.name, f"{cost.least_us:.2f}", f"{cost.median_us:.2f}", *counts)
    return table


def profile_table(name: str, lines: Sequence[Line]) -> Table:
    """The dearest functions of one case."""
    table = titled(
        f"{name}: functions by own time, per call (profiled: small ones look dearer)", ("", "calls", "own µs")
    )
    for line in lines:
        table.add_row(line.function, f"{line.calls:.1f}", f"{line.own_us:.2f}")
    return table


def _costs(rows: Sequence[Row], shapes: Sequence[Shape]) -> Table:
    title = "CPU in µs: median (range); below it how many times nginx's and Envoy's, in the same rounds"
    table = titled(title, ("", *(f"{shape.name}\nper {shape.unit}" for shape in shapes)))
    for row in rows:
        table.add_row(row.name, *(_cost(row.figures[shape.name]) for shape in shapes))
    return table


def _cost(figure: Figure) -> str:
    if figure.failed or not figure.units:
        return "failed"
    digits = 1 if figure.cost_us < 100 else 0
    cost, low, high = (f"{value:,.{digits}f}" for value in (figure.cost_us, figure.lowest_us, figure.highest_us))
    times = "  ".join(f"{ratio:,.2f}×" for ratio in figure.ratios.values())
    return f"{cost} ({low}–{high})" + (f"\n{times}" if times else "")


def _processes(rows: Sequence[Row]) -> Table:
    columns = ("", "start s", "RSS MiB idle", "RSS MiB 256 callers", "calls/s", "p50 ms", "p99 ms")
    table = titled(f"Processes, and latency at {TYPICAL.name} callers", columns)
    for row in rows:
        loaded = "" if row.loaded_mib is None else f"{row.loaded_mib:.0f}"
        speed = _speed(row.figures[TYPICAL.name]) if TYPICAL.name in row.figures else []
        table.add_row(row.name, f"{row.start_seconds:.2f}", f"{row.idle_mib:.0f}", loaded, *speed)
    return table


def _speed(figure: Figure) -> list[str]:
    return [f"{figure.units_per_second:,.0f}", f"{figure.p50_us / 1e3:.2f}", f"{figure.p99_us / 1e3:.2f}"]


def _promises(budgets: Sequence[Budget]) -> Table:
    table = titled("Budgets (what this run says; a noisy machine can be wrong)", ("", "promise", "found", ""))
    words = {True: "[green]met[/]", False: "[red]missed[/]", None: "not measured"}
    for budget in budgets:
        found = "" if budget.found is None else f"{budget.found:.2f} {budget.unit}"
        bound = "at least" if budget.at_least else "at most"
        table.add_row(budget.what, f"{bound} {budget.limit:g} {budget.unit}", found, words[budget.met])
    return table


def titled(title: str, columns: Sequence[str]) -> Table:
    """An empty table."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    return table
