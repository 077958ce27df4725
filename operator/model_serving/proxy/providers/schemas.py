"""JSON schemas of answers, for vendors that take a schema and nothing beside it. Asked by `gemini.py` and
`cohere_chat.py`. Pure.

Reference: https://platform.openai.com/docs/api-reference/chat/create, `response_format`
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from model_serving.proxy.providers.chat import Schema
from model_serving.proxy.providers.features import cannot_express

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_encode = msgspec.json.Encoder().encode


def described_schema(told: Schema, provider: str) -> Raw | None:
    """The schema, with the description that stands beside it; None without one. InvalidParameter where both have a
    description."""
    if told.schema is None or told.description is None:
        return told.schema
    field = "response_format.json_schema.description"
    try:
        schema = _OBJECT.decode(told.schema)
    except (msgspec.DecodeError, RecursionError):
        raise cannot_express(field, provider, "describe within an object schema") from None
    if "description" in schema:
        raise cannot_express(field, provider, "keep the schema's own or this one")
    return Raw(_encode({"description": told.description, **schema}))
