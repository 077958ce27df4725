"""What every model of the resource is made of: the base class, and rules that hold in Python and the API server alike.

Imported by the other modules of this package only. A rule is written once, next to the class or the field that it
constrains: its CEL text goes into the generated CRD (`api/crd.py`), its Python twin runs when pydantic builds the
object. One folder of cases runs against both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

RULES_BROKEN = "rules_broken"
"""Type of the pydantic error that broken rules of one object make; its context holds (field, message) pairs."""


def camel(name: str) -> str:
    """`openai_api_base` → `openaiApiBase`. (pydantic's own would make `ai21Labs` of `ai21labs`.)"""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint over one object.

    `cel` sees the object as `self`; `holds` gets the built model. `message` states what is wrong and the remedy;
    `message_cel` replaces it in the CRD where the text needs a value of the object, `describe` is then its twin.
    `field` is the path of the culprit below the object, `reason` a word of the CRD's `reason` field.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str = ""
    message_cel: str = ""
    describe: Callable[[Any], str] | None = None
    reason: str = "FieldValueInvalid"

    def complaint(self, model: Any) -> str:
        """The text that a user gets when the rule does not hold for `model`."""
        return self.describe(model) if self.describe else self.message

    def validation(self) -> dict[str, Any]:
        """The rule as an item of `x-kubernetes-validations`."""
        validation = {"rule": self.cel, "message": self.message, "reason": self.reason}
        if self.message_cel:
            validation["messageExpression"] = self.message_cel
        if self.field:
            validation["fieldPath"] = self.field
        return validation


@dataclass(frozen=True, slots=True)
class Transition:
    """A constraint over an update: `cel` sees `self` and `oldSelf`, `holds` gets (new, old)."""

    cel: str
    holds: Callable[[Any, Any], bool]
    message: str
    field: str = ""

    def validation(self) -> dict[str, Any]:
        """The transition as an item of `x-kubernetes-validations`."""
        validation = {"rule": self.cel, "message": self.message, "reason": "FieldValueForbidden"}
        if self.field:
            validation["fieldPath"] = self.field
        return validation


class Model(BaseModel):
    """Base of all models: camelCase outside, snake_case inside, unknown fields refused, frozen."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, extra="forbid", frozen=True)

    rules: ClassVar[tuple[Rule, ...]] = ()
    transitions: ClassVar[tuple[Transition, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        broken = [(rule.field, rule.complaint(self)) for rule in self.rules if not rule.holds(self)]
        if broken:
            raise rules_broken(broken)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """Adds the rules and transitions to the JSON schema, where `api/crd.py` finds them."""
        described = handler.resolve_ref_schema(handler(schema))
        validations = [rule.validation() for rule in cls.rules] + [rule.validation() for rule in cls.transitions]
        if validations:
            described["x-kubernetes-validations"] = validations
        return described

    def manifest(self) -> dict[str, Any]:
        """The object as it stands in YAML: camelCase, only what was set by the user or has a value."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def written(self) -> dict[str, Any]:
        """The object as somebody wrote it: camelCase, without the defaults that nobody set. What platforms store, so
        that what was sent comes back equal."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def count_set(model: Model, *fields: str) -> int:
    """How many of the snake_case `fields` of `model` are set."""
    return sum(getattr(model, field) is not None for field in fields)


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Annotation: a rule on one value, not on an object."""

    rule: Rule

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        described.setdefault("x-kubernetes-validations", []).append(self.rule.validation())
        return described

    def _check(self, value: Any) -> Any:
        if not self.rule.holds(value):
            raise rules_broken([("", self.rule.complaint(value))])
        return value


def value_rule(cel: str, holds: Callable[[Any], bool], message: str) -> ValueRule:
    """Annotation of a rule on one value: `cel` sees it as `self`."""
    return ValueRule(Rule(cel=cel, holds=holds, message=message))


def matching(pattern: str, message: str) -> ValueRule:
    """Annotation of a string that `pattern` must match as a whole.

    Unlike `pattern` of a schema this has a message that a person understands. The pattern is RE2 (the API server's
    dialect, without quotes in it) and reads the same in Python.
    """
    compiled = re.compile(pattern)
    return value_rule(f"self.matches(r'^({pattern})$')", lambda value: compiled.fullmatch(value) is not None, message)


def rules_broken(broken: list[tuple[str, str]]) -> PydanticCustomError:
    """The error that carries (field, message) pairs of broken rules through pydantic."""
    text = "; ".join(f"{field.lstrip('.')}: {message}" if field else message for field, message in broken)
    return PydanticCustomError(RULES_BROKEN, "{text}", {"text": text, "broken": broken})


def _unique(*keys: str) -> Callable[[list[Any]], list[Any]]:
    def check(items: list[Any]) -> list[Any]:
        seen = set()
        for item in items:
            key = tuple(getattr(item, k) for k in keys)
            if key in seen:
                named = ", ".join(f"{camel(k)} {_legible(value)}" for k, value in zip(keys, key, strict=True))
                raise rules_broken([("", f"Duplicate value: {named} stands in the list twice, remove one")])
            seen.add(key)
        return items

    return check


def _legible(value: Any) -> str:
    """A value in a message, which is one line."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def list_map(*keys: str, most: int, least: int = 0) -> tuple[Any, ...]:
    """Annotations of a list of objects that is keyed by the snake_case fields `keys` (a Kubernetes list-map)."""
    extra: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [camel(k) for k in keys]}
    return Field(min_length=least or None, max_length=most, json_schema_extra=extra), AfterValidator(_unique(*keys))


def atomic_list(*, most: int) -> Any:
    """Annotation of a list that has one owner as a whole."""
    return Field(max_length=most, json_schema_extra={"x-kubernetes-list-type": "atomic"})


def atomic_map(*, most: int, key: str, message: str) -> tuple[Any, ...]:
    """Annotations of a string map with one owner as a whole, whose keys match the RE2 pattern `key`."""
    compiled = re.compile(key)
    keys = value_rule(
        f"self.all(k, k.matches(r'^({key})$'))",
        lambda value: all(compiled.fullmatch(k) for k in value),
        message,
    )
    return Field(max_length=most, json_schema_extra={"x-kubernetes-map-type": "atomic"}), keys
