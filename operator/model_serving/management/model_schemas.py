"""Schemas of the resource's models in REST's spelling, for the document of the REST API. Called by `schemas.py`.

Derived from the same fields by which bodies are read (`convert/fields.py`), so that the document cannot differ from
what is taken.
"""

from __future__ import annotations

from typing import Any

from model_serving.api.base import Model
from model_serving.api.config import ServedEntity
from model_serving.api.external_model import BLOCKS, ExternalModel, Provider
from model_serving.management.convert.fields import Field, Kind, fields_of

Schema = dict[str, Any]

_REFERENCE: Schema = {
    "type": "string",
    "pattern": r"^\{\{secrets/[-._@A-Za-z0-9]{1,128}/[-_A-Za-z0-9][-._A-Za-z0-9]{0,127}\}\}$",
    "description": "A reference to a secret: {{secrets/SCOPE/KEY}}.",
}
_PLAIN: Schema = {"type": "string", "description": "The key itself, instead of a reference. It is never shown again."}
_FILLED_IN = {(ServedEntity, "name")}
"""What the resource requires and REST does not: it has a default."""


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def models(*roots: type[Model]) -> dict[str, Schema]:
    """A schema for each model of `roots` and those below, by their names."""
    found: dict[str, Schema] = {}
    left = list(roots)
    while left:
        model = left.pop()
        if model.__name__ not in found:
            found[model.__name__] = _external_model() if model is ExternalModel else _closed(model)
            left += [field.model for field in fields_of(model).values() if field.model is not None]
    return found


def properties(model: type[Model]) -> dict[str, Schema]:
    """The fields of one model."""
    described: Schema = _plain(model.model_json_schema(by_alias=False))
    found: dict[str, Schema] = {}
    for field in fields_of(model).values():
        found[field.name] = _property(field, described["properties"][field.python], described.get("$defs", {}))
        if field.kind is Kind.SECRET:
            found[field.twin] = _PLAIN
    return found


def _closed(model: type[Model]) -> Schema:
    """An object with no other fields than the model's: they are refused."""
    fields = (field for field in fields_of(model).values() if field.required and field.kind is not Kind.SECRET)
    required = [field.name for field in fields if (model, field.name) not in _FILLED_IN]
    made: Schema = {"type": "object", "properties": properties(model), "additionalProperties": False}
    return {**made, "required": required} if required else made


def _property(field: Field, schema: Schema, definitions: dict[str, Schema]) -> Schema:
    if field.kind is Kind.SECRET:
        return _REFERENCE
    if field.kind is Kind.ENVIRONMENT:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if field.model is None:
        made: Schema = _inlined(schema, definitions)
        return made
    one = ref(field.model.__name__)
    return {"type": "array", "items": one} if field.kind is Kind.OBJECTS else one


def _inlined(schema: Any, definitions: dict[str, Schema]) -> Any:
    """With enumerations in the place where they are used, and without null, which says no more than absence."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    made = {name: _inlined(each, definitions) for name, each in schema.items() if name != "title" and each is not None}
    options = [each for each in made.pop("anyOf", []) if each != {"type": "null"}]
    if len(options) > 1:
        return {**made, "anyOf": options}
    return {**options[0], **made} if options else made


def _external_model() -> Schema:
    """One form for each provider: its name and its block belong together."""
    whole = _closed(ExternalModel)
    others = {name: each for name, each in whole["properties"].items() if name not in BLOCKS.values()}
    return {"oneOf": [_of_provider(whole, others, provider) for provider in Provider]}


def _of_provider(whole: Schema, others: dict[str, Schema], provider: Provider) -> Schema:
    block = BLOCKS[provider]
    fields = {**others, "provider": {"type": "string", "const": str(provider)}, block: whole["properties"][block]}
    return {**whole, "properties": fields, "required": [*whole["required"], block]}


def _plain(value: Any) -> Any:
    """Without Kubernetes' extensions."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _plain(each) for name, each in value.items() if not name.startswith("x-kubernetes-")}
