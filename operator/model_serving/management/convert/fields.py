"""The fields of the resource's models in REST's spelling, derived from the models themselves. Used by both ways.

A field is called in REST as in Python; a Secret reference loses its ending and gets a twin: `openai_api_key_secret_ref`
is `openai_api_key` or `openai_api_key_plaintext`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from model_serving.api.base import Model, camel
from model_serving.api.config import EnvironmentVariable
from model_serving.api.endpoint import EndpointSpec
from model_serving.api.types import SecretRef
from model_serving.lifecycle.proxy_config import credential_name

PLAINTEXT = "_plaintext"
KUBERNETES_ONLY = frozenset({"endpoint_name", "access", "proxy"})
"""Fields of the spec that REST does not show so: a name of its own, permissions, and what runs here only."""


class Kind(Enum):
    """What a field holds."""

    VALUE = auto()
    OBJECT = auto()
    OBJECTS = auto()
    """A list of objects."""
    SECRET = auto()
    ENVIRONMENT = auto()
    """A list of variables, in REST a map."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `name` in REST, `alias` in YAML, `python` in the model. `model` is that of OBJECT and OBJECTS."""

    name: str
    alias: str
    python: str
    kind: Kind
    required: bool
    model: type[Model] | None = None
    number: bool = False
    holds_empty: bool = True
    """Whether the empty string is a value of it."""

    @property
    def twin(self) -> str:
        """The field that takes a key in plain text."""
        return self.name + PLAINTEXT


@cache
def fields_of(model: type[Model]) -> Mapping[str, Field]:
    """The fields of a model, by their REST names."""
    made = (_field(name, info) for name, info in model.model_fields.items())
    return {field.name: field for field in made}


def models_below(root: type[Model]) -> Iterator[type[Model]]:
    """`root` and the models that REST shows of it."""
    yield root
    for field in fields_of(root).values():
        if field.model is not None and field.python not in KUBERNETES_ONLY:
            yield from models_below(field.model)


def rest_names(model: type[Model]) -> list[str]:
    """All that REST may write into an object of that model."""
    fields = [f for f in fields_of(model).values() if model is not EndpointSpec or f.python not in KUBERNETES_ONLY]
    return [f.name for f in fields] + [f.twin for f in fields if f.kind is Kind.SECRET]


def _field(python: str, info: FieldInfo) -> Field:
    inner, many = _unwrapped(info.annotation)
    is_model = isinstance(inner, type) and issubclass(inner, Model)
    if inner is SecretRef:
        return Field(credential_name(python), camel(python), python, Kind.SECRET, info.is_required())
    if inner is EnvironmentVariable:
        return Field(python, camel(python), python, Kind.ENVIRONMENT, info.is_required())
    kind = (Kind.OBJECTS if many else Kind.OBJECT) if is_model else Kind.VALUE
    return Field(
        python,
        camel(python),
        python,
        kind,
        info.is_required(),
        model=inner if is_model else None,
        number=inner is int and not many,
        holds_empty=kind is Kind.VALUE and _holds_empty(info),
    )


def _unwrapped(annotation: Any, many: bool = False) -> tuple[Any, bool]:
    """The type inside of optional, annotated and list types, and whether there was a list."""
    arguments = [part for part in get_args(annotation) if part is not type(None)]
    origin = get_origin(annotation)
    if origin is list:
        return _unwrapped(arguments[0], True)
    if arguments and (origin is not None) and not isinstance(arguments[0], str):
        return _unwrapped(arguments[0], many)
    return annotation, many


def _holds_empty(info: FieldInfo) -> bool:
    try:
        TypeAdapter(info.rebuild_annotation()).validate_python("", strict=True)
    except ValidationError:
        return False
    return True
