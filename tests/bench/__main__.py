"""`python -m tests.bench`, which is `make bench`. Exit code 1 when calls failed, 2 when it could not run; never for
a figure, which depends on the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from tests.bench.features import compare, table
from tests.bench.machine import Unavailable
from tests.bench.peers.base import Say
from tests.bench.peers.registry import PEERS
from tests.bench.report import as_json, show
from tests.bench.rounds import Effort
from tests.bench.run import DIRECT, FULL, NAMES, OWN_BUILD, SHORT, Plan, run
from tests.bench.summary import BOTH, PROXY, Summary
from tests.bench.translation import Translation
from tests.bench.translation import compare as compare_vendors
from tests.bench.translation import table as translation_table

PEOPLE_WIDTH = 150
KNOWN = (DIRECT, *PEERS, PROXY, BOTH, OWN_BUILD)


def names_of(peers: str, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """What is measured: `chosen`, or the usual ones and the peers that are asked for."""
    if chosen:
        return chosen
    asked = list(PEERS) if peers == "all" else [name.strip() for name in peers.split(",") if name.strip()]
    unknown = [name for name in asked if name not in PEERS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: known are all, {', '.join(PEERS)}", param_hint="--peers")
    return (*NAMES, *(name for name in asked if name not in NAMES))


@click.command()
@click.option("--quick", is_flag=True, help="Short windows: half a minute instead of some.")
@click.option("--peers", default="", help="Further gateways: all, or names with commas between them.")
@click.option("--target", "chosen", multiple=True, type=click.Choice(KNOWN), help="Only this one (may be repeated).")
@click.option("--features", "compared", is_flag=True, help="What each feature of the proxy costs, instead of peers.")
@click.option("--providers", "translated", is_flag=True, help="Only what translating for each vendor costs.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures into this file, too.")
def main(  # noqa: PLR0913
    quick: bool, peers: str, chosen: tuple[str, ...], compared: bool, translated: bool, output: str, file: Path | None
) -> None:
    """CPU per call of proxy and router beside nginx, Envoy and other gateways."""
    progress = Console(stderr=True)

    def say(line: str) -> None:
        progress.print(f"==> {line}", highlight=False)

    effort = SHORT if quick else FULL
    plan = Plan(effort, names_of(peers, chosen))
    try:
        if compared:
            _compare(effort, output, say)
            return
        summary = None if translated else run(plan, say)
        translation = compare_vendors(effort, say) if translated or not chosen else None
    except Unavailable as reason:
        progress.print(f"The benchmark cannot run: {reason}", highlight=False)
        sys.exit(2)
    text = _document(summary, translation)
    if file is not None:
        file.write_text(text)
    if output == "json":
        print(text)
    else:
        _show(summary, translation, plan)
    sys.exit(1 if any(found.faults for found in (summary, translation) if found is not None) else 0)


def _document(summary: Summary | None, translation: Translation | None) -> str:
    found = json.loads(as_json(summary)) if summary is not None else {}
    if translation is not None:
        found["translation"] = msgspec.to_builtins(translation)
    return json.dumps(found, indent=2)


def _show(summary: Summary | None, translation: Translation | None, plan: Plan) -> None:
    console = _wide()
    if summary is not None:
        show(summary, plan.shapes, console)
    if translation is not None:
        console.print(translation_table(translation))
        for fault in translation.faults:
            console.print(f"[red]not valid:[/] {fault}")


def _compare(effort: Effort, output: str, say: Say) -> None:
    found = compare(effort, say)
    if output == "json":
        print(msgspec.json.encode(found).decode())
    else:
        _wide().print(table(found))


def _wide() -> Console:
    console = Console(highlight=False)
    console.width = max(console.width, PEOPLE_WIDTH)
    return console


if __name__ == "__main__":
    main()
