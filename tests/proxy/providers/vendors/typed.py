"""Whether JSON fits a type of a vendor's SDK: TypedDicts, unions, literals, unknown fields refused. For `vendors/`.

Checkers at hand take iterables for granted, which is what SDKs declare messages and tools as.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions as te

_QUALIFIERS = (te.Required, te.NotRequired, te.ReadOnly, Annotated)


def fits(kind: Any, value: Any, path: str = "$") -> None:
    """Raises AssertionError with the path of what does not fit."""
    kind = _plain(kind)
    origin = get_origin(kind) or kind
    if kind in (Any, object):
        return
    if origin in (Union, types.UnionType):
        _one_of(get_args(kind), value, path)
    elif origin is Literal:
        assert any(value == told and type(value) is type(told) for told in get_args(kind)), f"{path}: {value!r}"
    elif te.is_typeddict(origin):
        _fields(origin, value, path)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        _mapping(kind, value, path)
    elif kind in (None, type(None)):
        assert value is None, f"{path}: {value!r} is not null"
    elif get_args(kind):
        _items(get_args(kind)[0], value, path)
    else:
        _scalar(kind, value, path)


def _plain(kind: Any) -> Any:
    while get_origin(kind) in _QUALIFIERS:
        kind = get_args(kind)[0]
    return kind


def _one_of(kinds: tuple[Any, ...], value: Any, path: str) -> None:
    problems = []
    for kind in kinds:
        try:
            return fits(kind, value, path)
        except AssertionError as error:
            problems.append(str(error))
    deepest = max(problems, key=lambda problem: len(problem.partition(":")[0]))
    raise AssertionError(deepest)


def _fields(kind: Any, value: Any, path: str) -> None:
    assert isinstance(value, dict), f"{path}: {value!r} is not an object"
    hints, needed = _hints(kind)
    assert value.keys() <= hints.keys(), f"{path}: unknown {sorted(value.keys() - hints.keys())}"
    assert needed <= value.keys(), f"{path}: missing {sorted(needed - value.keys())}"
    # what tells a union's members apart comes first, so that the deepest problem is that of the right one
    for name in sorted(value, key=lambda name: get_origin(_plain(hints[name])) is not Literal):
        fits(hints[name], value[name], f"{path}.{name}")


@cache
def _hints(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """A TypedDict's fields, and those that must be there."""
    hints = te.get_type_hints(kind, include_extras=True)
    return hints, {name for name, hint in hints.items() if _is_required(kind, name, hint)}


def _is_required(kind: Any, name: str, hint: Any) -> bool:
    """As declared: names in quotes hide their qualifiers from `__required_keys__`."""
    if get_origin(hint) in (te.Required, te.NotRequired):
        return get_origin(hint) is te.Required
    return name in kind.__required_keys__


def _mapping(kind: Any, value: Any, path: str) -> None:
    assert isinstance(value, dict), f"{path}: {value!r} is not an object"
    for name, item in value.items():
        fits((get_args(kind) or (Any, Any))[1], item, f"{path}.{name}")


def _items(kind: Any, value: Any, path: str) -> None:
    assert isinstance(value, list), f"{path}: {value!r} is not a list"
    for number, item in enumerate(value):
        fits(kind, item, f"{path}[{number}]")


def _scalar(kind: Any, value: Any, path: str) -> None:
    if kind is float:
        kind = (int, float)
    right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    assert right, f"{path}: {value!r} is not {kind}"
