"""What every model of the resource is made of: the base class, rules that hold in Python and in the API server alike,
and the shared field types. Imported by the other modules of this package only.

A rule is written once, next to the class that it constrains: its CEL text goes into the generated CRD
(`api/crd.py`), its Python twin runs when pydantic builds the object. One folder of cases runs against both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def camel(name: str) -> str:
    """`openai_api_base` → `openaiApiBase`. (pydantic's own would make `ai21Labs` of `ai21labs`.)"""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint over one object.

    `cel` sees the object as `self`; `holds` gets the built model. `message` states the field and the remedy;
    `message_cel` replaces it in the CRD where the text needs a value of the object, `describe` is then its twin.
    `field` is the path of the culprit below the object, as in `fieldPath` of a CRD rule.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str = ""
    message_cel: str = ""
    describe: Callable[[Any], str] | None = None

    def complaint(self, model: Any) -> str:
        """The text that a user gets when the rule does not hold for `model`."""
        return self.describe(model) if self.describe else self.message


@dataclass(frozen=True, slots=True)
class Transition:
    """A constraint over an update: `cel` sees `self` and `oldSelf`, `holds` gets (old, new)."""

    cel: str
    holds: Callable[[Any, Any], bool]
    message: str
    field: str = ""


class Model(BaseModel):
    """Base of all models: camelCase outside, snake_case inside, unknown fields refused, frozen."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, extra="forbid", frozen=True)

    rules: ClassVar[tuple[Rule, ...]] = ()
    transitions: ClassVar[tuple[Transition, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                where = f"{rule.field.lstrip('.')}: " if rule.field else ""
                raise ValueError(where + rule.complaint(self))
        return self

    def manifest(self) -> dict[str, Any]:
        """The object as it stands in YAML: camelCase, only what was set by the user or has a value."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def at_most_one(*fields: str) -> str:
    """CEL that holds if at most one of the optional `fields` is set."""
    return f"[{', '.join(f'has(self.{f})' for f in fields)}].filter(x, x).size() <= 1"


def count_set(model: Model, *fields: str) -> int:
    """How many of the snake_case `fields` of `model` are set."""
    return sum(getattr(model, field) is not None for field in fields)


def _unique(*keys: str) -> Callable[[list[Any]], list[Any]]:
    def check(items: list[Any]) -> list[Any]:
        seen = set()
        for item in items:
            key = tuple(getattr(item, k) for k in keys)
            if key in seen:
                raise ValueError(f"Duplicate value: {', '.join(map(str, key))} stands in the list twice")
            seen.add(key)
        return items

    return check


def list_map(*keys: str, most: int, least: int = 0) -> tuple[Any, ...]:
    """Annotations of a list of objects that is keyed by the snake_case fields `keys` (a Kubernetes list-map)."""
    extra: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [camel(k) for k in keys]}
    return Field(min_length=least or None, max_length=most, json_schema_extra=extra), AfterValidator(_unique(*keys))


def atomic_list(*, most: int) -> Any:
    """Annotation of a list that has one owner as a whole."""
    return Field(max_length=most, json_schema_extra={"x-kubernetes-list-type": "atomic"})


Text = Annotated[str, Field(max_length=1024)]
Word = Annotated[str, Field(min_length=1, max_length=255)]
EntityName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")]
SecretKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
Scope = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-._@A-Za-z0-9]+$")]
HeaderName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]


class SecretRef(Model):
    """One key of a Secret in the endpoint's namespace."""

    name: ObjectName = Field(description="Name of the Secret, in the endpoint's own namespace.")
    key: SecretKey = Field(description="Key inside the Secret.")
    scope: Scope | None = Field(default=None, description="The Databricks spelling of the scope, echoed by REST.")


class WorkloadIdentity(Model):
    """Credentials of the pod's own cloud identity; it has no settings of its own."""
