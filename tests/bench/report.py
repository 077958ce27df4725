"""A run's figures for people (tables) and for programs (JSON)."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from tests.bench.ours import FEATURES
from tests.bench.summary import Budget, Figure, Row, Summary
from tests.bench.workload import TYPICAL, Shape


def as_json(summary: Summary) -> str:
    """The figures, with the budgets and what is wrong."""
    budgets = [asdict(budget) | {"met": budget.met} for budget in summary.budgets]
    found = asdict(summary) | {
        "python": platform.python_version(),
        "proxy_does": FEATURES,
        "budgets": budgets,
        "faults": summary.faults,
    }
    return json.dumps(found, indent=2)


def show(summary: Summary, shapes: Sequence[Shape], console: Console) -> None:
    """Prints the tables."""
    console.print(_costs(summary.rows, shapes))
    console.print(_processes(summary.rows))
    console.print(_promises(summary.budgets))
    console.print(
        f"Python {platform.python_version()}, {platform.machine()}. All targets share one core, one at a time."
    )
    console.print(f"The proxy does, for each call: {FEATURES}. direct: the mock provider alone, the floor.")
    for name, reason in summary.left_out.items():
        console.print(f"{name} is left out: {reason}")
    for fault in summary.faults:
        console.print(f"[red]not valid:[/] {fault}")


def _costs(rows: Sequence[Row], shapes: Sequence[Shape]) -> Table:
    table = Table(title="CPU in µs per call, event or stream (× nginx in the same rounds)", title_justify="left")
    table.add_column("")
    for shape in shapes:
        table.add_column(f"{shape.name}\nper {shape.unit}", justify="right")
    for row in rows:
        table.add_row(row.name, *(_cost(row.figures[shape.name]) for shape in shapes))
    return table


def _cost(figure: Figure) -> str:
    if figure.failed or not figure.units:
        return "failed"
    times = "" if figure.ratio is None else f" ({figure.ratio:.2f}×)"
    return f"{figure.cost_us:.1f}{times}"


def _processes(rows: Sequence[Row]) -> Table:
    table = Table(title=f"Processes, and latency at {TYPICAL.name} callers", title_justify="left")
    for name in ("", "start s", "RSS MiB idle", "RSS MiB 256 callers", "calls/s", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        loaded = "" if row.loaded_mib is None else f"{row.loaded_mib:.0f}"
        speed = _speed(row.figures[TYPICAL.name]) if TYPICAL.name in row.figures else []
        table.add_row(row.name, f"{row.start_seconds:.2f}", f"{row.idle_mib:.0f}", loaded, *speed)
    return table


def _speed(figure: Figure) -> list[str]:
    return [f"{figure.units_per_second:,.0f}", f"{figure.p50_us / 1e3:.2f}", f"{figure.p99_us / 1e3:.2f}"]


def _promises(budgets: Sequence[Budget]) -> Table:
    table = Table(title="Budgets (what this run says; a noisy machine can be wrong)", title_justify="left")
    for name in ("", "at most", "found", ""):
        table.add_column(name, justify="right" if name else "left")
    words = {True: "[green]kept[/]", False: "[red]missed[/]", None: "not measured"}
    for budget in budgets:
        found = "" if budget.found is None else f"{budget.found:.2f} {budget.unit}"
        table.add_row(budget.what, f"{budget.limit:.2f} {budget.unit}", found, words[budget.met])
    return table
