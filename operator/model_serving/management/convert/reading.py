"""Reads REST objects into manifests of the resource (YAML spelling), by the fields of its models. Used by `draft.py`.

Types of values are left to the models, which judge the finished spec; here is what REST has and the resource has not:
spelling, null for absent, secrets, numbers in quotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from model_serving.api.base import Model
from model_serving.api.config import EnvironmentVariable
from model_serving.api.problems import problems
from model_serving.management.convert.fields import Field, Kind, fields_of, rest_names
from model_serving.management.convert.problems import InvalidBody, below, shown, unknown_field
from model_serving.management.convert.secret_text import Plaintext, SecretUse, looks_like_reference, read_reference

Json = dict[str, Any]
_DIGITS = re.compile(r"[0-9]{1,9}")
_NOT_UNICODE = re.compile(r"[\ud800-\udfff]")


def sound(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """`body`, unless it holds what no JSON document for people holds: half characters, numbers that are none."""
    level: list[Any] = [body]
    while level:
        value = level.pop()
        if isinstance(value, Mapping):
            level += [*value, *value.values()]
        elif isinstance(value, list):
            level += value
        elif isinstance(value, str) and _NOT_UNICODE.search(value):
            raise InvalidBody("the body holds text that is not Unicode (half of a pair of \\ud… escapes): correct it")
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidBody("the body holds a number that is none (NaN or Infinity): correct it")
    return body


def read_mapping(value: Any, path: str) -> Json:
    """`value` as an object, without the fields that are null. `InvalidBody` if it is none."""
    if not isinstance(value, Mapping):
        raise InvalidBody(f"{path}: must be an object with fields of its own")
    return {name: each for name, each in value.items() if each is not None}


def read_list(value: Any, path: str) -> list[Any]:
    """`value` as a list. `InvalidBody` if it is none."""
    if not isinstance(value, list):
        raise InvalidBody(f"{path}: must be a list")
    return value


class Reading:
    """One body being read; `secrets` gathers what it says of secrets."""

    def __init__(self) -> None:
        self.secrets: list[SecretUse | Plaintext] = []

    def read(self, model: type[Model], value: Any, path: str) -> Json:
        """The manifest of `model` that the object at `path` describes. Unknown fields are refused."""
        given = read_mapping(value, path)
        known = fields_of(model)
        names = rest_names(model)
        for name in given:
            if name not in names:
                raise unknown_field(path, name, names)
        read = ((field.alias, self._field(field, given, path)) for field in known.values())
        return {alias: value for alias, value in read if value is not None}

    def read_all(self, model: type[Model], value: Any, path: str) -> list[Json]:
        """The manifests of a list of objects."""
        return [self.read(model, each, f"{path}[{i}]") for i, each in enumerate(read_list(value, path))]

    def _field(self, field: Field, given: Json, path: str) -> Any:
        """The manifest of one field of the object `given`; None when it is absent."""
        at, value = below(path, field.name), given.get(field.name)
        if field.kind is Kind.SECRET:
            return self._secret(field, given, at)
        if value is None or (value == "" and not field.required and not field.holds_empty):
            return None  # an empty string where none can stand is how some clients say nothing
        if field.kind is Kind.ENVIRONMENT:
            return self._environment(value, at)
        if field.model is None:
            return value
        if field.kind is Kind.OBJECTS:
            return self.read_all(field.model, value, at)
        return self.read(field.model, value, at)

    def _secret(self, field: Field, given: Json, path: str) -> SecretUse | Plaintext | None:
        named, plain = (given.get(name, "") for name in (field.name, field.twin))
        for name, value in ((field.name, named), (field.twin, plain)):
            if not isinstance(value, str):
                raise InvalidBody(f"{path.removesuffix(field.name)}{name}: must be a string: put it into quotes")
        if named and plain:
            raise InvalidBody(f"{path}: give either {field.name} or {field.twin}, not both: remove one of them")
        if plain:
            return self._seen(Plaintext(path, plain))
        if named:
            return self._seen(read_reference(named, path, f"; or give the key itself in {field.twin}"))
        if field.required:
            raise InvalidBody(
                f"{path}: is required: give a reference {{{{secrets/SCOPE/KEY}}}} in {field.name}, "
                f"or the key itself in {field.twin}"
            )
        return None

    def _environment(self, value: Any, path: str) -> list[Json]:
        return [self._variable(name, text, path) for name, text in read_mapping(value, path).items()]

    def _variable(self, name: str, value: Any, path: str) -> Json:
        at = below(path, shown(name))
        if isinstance(value, str) and looks_like_reference(value):
            plain: Json = {"name": name, "value": ""}
            made: Json = {"name": name, "secretRef": self._seen(read_reference(value, at))}
        else:
            plain = made = {"name": name, "value": value}
        try:
            EnvironmentVariable.model_validate(plain, strict=True)
        except ValidationError as error:
            raise InvalidBody(f"{at}: {problems(error, EnvironmentVariable)[0].message}") from None
        return made

    def _seen(self, secret: SecretUse | Plaintext) -> SecretUse | Plaintext:
        self.secrets.append(secret)
        return secret


def plain_number(value: Any) -> Any:
    """A number that was sent in quotes, as a number; anything else as it is."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
