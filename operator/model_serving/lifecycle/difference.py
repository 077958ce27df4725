"""How two manifests differ, field by field. Pure; called by `plan.py`.

Items of a list are told apart by what names them, so that an entity that moves up in a list is no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_NAMED_BY: dict[str, tuple[str, ...]] = {
    "servedEntities": ("name",),
    "routes": ("servedEntityName",),
    "environmentVars": ("name",),
    "tags": ("key",),
    "access": ("kind", "namespace", "name"),
    "rateLimits": ("key", "principal"),
}


class Difference(NamedTuple):
    """One field that differs; None where it is not there at all."""

    field: str
    before: Any
    after: Any


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """All differences, in the order of the fields. What is there on one side only stands for all below it."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from differences(before.get(name), after.get(name), f"{path}.{name}" if path else name)
        return
    named_before, named_after = (_named(value, path.rpartition(".")[2]) for value in (before, after))
    if named_before is None or named_after is None:
        yield Difference(path, before, after)
        return
    for name in [*named_before, *(name for name in named_after if name not in named_before)]:
        yield from differences(named_before.get(name), named_after.get(name), f"{path}[{name}]")


def _named(value: Any, field: str) -> dict[str, Any] | None:
    """The items of a list by name; None if it is none, or if names stand in it twice. An absent list has no items."""
    keys = _NAMED_BY.get(field)
    if keys is None or not isinstance(value, list | None):
        return None
    items = value or []
    named = {" ".join(str(item[key]) for key in keys if item.get(key)): item for item in items}
    return named if len(named) == len(items) else None
