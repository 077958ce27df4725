"""pydantic's errors in the words of somebody who wrote YAML: field path, what is wrong, what to do.

Called by `api/validation.py`. A message never quotes the value: somebody may have pasted a key where a name belongs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from model_serving.api.base import RULES_BROKEN, camel

Location = tuple[int | str, ...]


class Problem(NamedTuple):
    """One thing that is wrong: the field's path in YAML spelling (may be empty), and a message with the remedy."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


_TEXTS = {
    "string_type": "must be a string: put it into quotes",
    "int_type": "must be an integer, without quotes",
    "int_from_float": "must be an integer",
    "bool_type": "must be true or false, without quotes",
    "list_type": "must be a list: begin each item with -",
    "dict_type": "must be a map of names to values",
    "model_type": "must be an object with fields of its own",
    "string_too_long": "must have at most {max_length} characters: shorten it",
    "string_too_short": "must have at least {min_length} characters: lengthen it",
    "string_pattern_mismatch": "must match {pattern}: lower-case letters, digits and -, a letter first",
    "too_long": "must have at most {max_length} items: remove some",
    "too_short": "must have at least {min_length} items: add one",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
}
_EMPTY = {"string_too_short": "must not be empty", "too_short": "must have at least 1 item: add one"}


def problems(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """All that `error` says about a `root`, one problem per field and message, in the order of the fields."""
    found = [problem for each in error.errors(include_url=False) for problem in _translate(each, root)]
    return list(dict.fromkeys(found))


def _translate(error: ErrorDetails, root: type[BaseModel]) -> Iterator[Problem]:
    location = _fields(error["loc"])
    context = error.get("ctx", {})
    path = path_of(location)
    if error["type"] == RULES_BROKEN:
        yield from (Problem((path + field).lstrip("."), message) for field, message in context["broken"])
        return
    if len(location) < len(error["loc"]):
        yield Problem(path, "must be an integer or a string")
        return
    owner = _model_at(root, location[:-1])
    name = str(location[-1]) if location else ""
    if error["type"] == "missing":
        yield Problem(path, f"is required{_purpose(owner, name)}")
    elif error["type"] == "extra_forbidden":
        yield Problem(path, _unknown(owner, name))
    else:
        empty = context.get("min_length") == 1
        text = (_EMPTY if empty else _TEXTS).get(error["type"], error["msg"])
        yield Problem(path, text.format_map(cast(Mapping[str, Any], context)))


def path_of(location: Location) -> str:
    """`("spec", "tags", 0, "key")` → `spec.tags[0].key`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _fields(location: Location) -> Location:
    """Without the marks that pydantic adds for the branches of a union."""
    return location[:-1] if location and location[-1] in ("int", "str") else location


def _unknown(owner: type[BaseModel] | None, name: str) -> str:
    known = [field.alias or key for key, field in owner.model_fields.items()] if owner else []
    if f"{name}SecretRef" in known or f"{camel(name)}SecretRef" in known:
        return f"keys never stand in an endpoint: put it into a Secret and name that in {camel(name)}SecretRef"
    if camel(name) in known:
        return f"unknown field: write it {camel(name)}"
    close = difflib.get_close_matches(name, known, n=1)
    return f"unknown field: did you mean {close[0]}?" if close else "unknown field: remove it"


def _purpose(owner: type[BaseModel] | None, name: str) -> str:
    field = _field(owner, name)
    return f": {field.description}" if field and field.description else ""


def _field(owner: type[BaseModel] | None, name: str) -> FieldInfo | None:
    fields = owner.model_fields.items() if owner else ()
    return next((field for key, field in fields if name in (field.alias, key)), None)


def _model_at(root: type[BaseModel], location: Location) -> type[BaseModel] | None:
    model: type[BaseModel] | None = root
    for part in location:
        if isinstance(part, str):
            field = _field(model, part)
            model = next(_models(field.annotation), None) if field else None
    return model


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
