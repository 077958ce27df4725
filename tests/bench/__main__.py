"""`python -m tests.bench`, which is `make bench`. Exit code 1 when calls failed, 2 when it could not run; never for
a figure, which depends on the machine."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from tests.bench.machine import Unavailable
from tests.bench.report import as_json, show
from tests.bench.run import FULL, NAMES, QUICK, Plan, run

PEOPLE_WIDTH = 130


@click.command()
@click.option("--quick", is_flag=True, help="Short windows: half a minute instead of two.")
@click.option("--target", "names", multiple=True, type=click.Choice(NAMES), help="Only this one (may be repeated).")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(quick: bool, names: tuple[str, ...], output: str) -> None:
    """CPU per call of proxy and router beside nginx and Envoy."""
    progress = Console(stderr=True)
    plan = Plan(QUICK if quick else FULL, names or NAMES)
    try:
        summary = run(plan, lambda line: progress.print(f"==> {line}", highlight=False))
    except Unavailable as reason:
        progress.print(f"The benchmark cannot run: {reason}", highlight=False)
        sys.exit(2)
    if output == "json":
        print(as_json(summary))
    else:
        console = Console(highlight=False)
        console.width = max(console.width, PEOPLE_WIDTH)
        show(summary, plan.shapes, console)
    sys.exit(1 if summary.faults else 0)


if __name__ == "__main__":
    main()
