"""How a plan is shown: a table per endpoint for people, one JSON document for programs. Called by `cli.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from model_serving.lifecycle.plan import Action, Kind, Plan
from model_serving.plan import Result

_STYLES = {Kind.ROLLOUT: "yellow", Kind.LIVE: "cyan", Kind.NONE: "dim"}
_WORDS = {Kind.ROLLOUT: "roll-out", Kind.LIVE: "live", Kind.NONE: "stored only"}
_LONGEST_VALUE = 120


def plan_json(results: Sequence[Result], against: str) -> str:
    """The results as JSON; values as they stand in YAML, or in the body for a REST call."""
    return json.dumps({"against": against, "endpoints": [_plain(result) for result in results]}, indent=1)


def plan_text(results: Sequence[Result], against: str) -> Iterator[RenderableType]:
    """The results for a terminal."""
    yield Text(f"compared with {against}", style="dim")
    for result in results:
        yield Text(_title(result), style="bold")
        if result.plan is not None and result.plan.changes:
            yield _table(result.plan)
        for effect in result.plan.effects if result.plan else ():
            yield Text(f"  • {effect}")
        for problem in result.refusals:
            yield Text(f"  ✗ refused: {problem}", style="red")
    yield Text(summary(results), style="bold")


def summary(results: Sequence[Result]) -> str:
    """One line that counts."""
    refused = sum(bool(result.refusals) for result in results)
    changed = sum(result.changes for result in results)
    endpoints = "1 endpoint" if len(results) == 1 else f"{len(results)} endpoints"
    return f"{endpoints}: {changed} to change, {refused} refused, {len(results) - changed - refused} as they are"


def _title(result: Result) -> str:
    plan = result.plan
    name = result.name or str(result.file)
    if plan is None or result.refusals:
        return f"{name}: would be refused"
    if plan.action is Action.NOTHING:
        return f"{name}: nothing changes"
    what = "is created" if plan.action is Action.CREATE else "is updated"
    number = f" {plan.version}" if plan.version else ""
    version = f"config version{number} is new" if plan.new_version else f"config version{number} stays"
    return f"{name}: {what}, {version}{'' if plan.rolls else ', nothing is rolled out'}"


def _table(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("  field", "now", "then", "takes effect by"):
        table.add_column(column, overflow="fold")
    for change in plan.changes:
        word = Text(_WORDS[change.kind], style=_STYLES[change.kind])
        table.add_row(Text(f"  {change.field}"), _value(change.before), _value(change.after), word)
    return table


def _value(value: Any) -> Text:
    if value is None:
        return Text("–", style="dim")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Text(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…")


def _plain(result: Result) -> dict[str, Any]:
    plan = result.plan
    shown: dict[str, Any] = {"file": str(result.file), "endpoint": result.name}
    if plan is not None:
        shown |= {
            "action": str(plan.action),
            "config_version": plan.version or None,
            "new_config_version": plan.new_version,
            "rolls_out": plan.rolls,
            "changes": [
                {"field": c.field, "kind": str(c.kind), "before": c.before, "after": c.after} for c in plan.changes
            ],
            "effects": list(plan.effects),
        }
    return shown | {"refused": [{"field": p.field, "message": p.message} for p in result.refusals]}
