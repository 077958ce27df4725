"""Writes models of the resource as REST objects, by their fields: what was set, and nothing else. Used by `rest.py`.

The one addition: outside of lists the API server fills in the defaults of switches (`enabled: false`), so they are
shown on every platform.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from model_serving.api.base import Model
from model_serving.api.config import EnvironmentVariable
from model_serving.api.types import SecretRef
from model_serving.management.convert.fields import Field, Kind, fields_of
from model_serving.management.convert.secret_text import reference_text

Json = dict[str, Any]


def write(model: Model, kept_keys: str, *, listed: bool = False) -> Json:
    """The REST object of `model`. References into the Secret `kept_keys` are keys that were given in plain text: their
    fields are left out. `listed`: the model is an item of a list."""
    written: Json = {}
    for name, field in fields_of(type(model)).items():
        value = getattr(model, field.python)
        if value is None or (listed and field.python not in model.model_fields_set):
            continue
        if field.kind is Kind.SECRET and _is_kept(value, kept_keys):
            continue
        written[name] = _value(field, value, kept_keys, listed)
    return written


def write_all(models: list[Any] | None, kept_keys: str = "") -> list[Json]:
    """The REST objects of a list of models."""
    return [write(model, kept_keys, listed=True) for model in models or []]


def _value(field: Field, value: Any, kept_keys: str, listed: bool) -> Any:
    match field.kind:
        case Kind.SECRET:
            return reference_text(value)
        case Kind.OBJECT:
            return write(value, kept_keys, listed=listed)
        case Kind.OBJECTS:
            return write_all(value, kept_keys)
        case Kind.ENVIRONMENT:
            return {variable.name: _variable(variable) for variable in value}
        case Kind.VALUE:
            return value.value if isinstance(value, Enum) else value


def _variable(variable: EnvironmentVariable) -> str:
    return reference_text(variable.secret_ref) if variable.secret_ref else variable.value or ""


def _is_kept(ref: SecretRef, kept_keys: str) -> bool:
    return bool(kept_keys) and ref.name == kept_keys and ref.scope is None
