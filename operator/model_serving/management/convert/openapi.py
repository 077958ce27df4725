"""The OpenAPI document of one endpoint: how to query it. Pure. Called by the route `…/openapi`."""

from __future__ import annotations

from typing import Any

from model_serving.api.external_model import Task
from model_serving.management.convert.standing import standing
from model_serving.stores import Stored

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_INTEGER: Json = {"type": "integer"}
_NUMBER: Json = {"type": "number"}
_TEXTS: Json = {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}]}


def openapi_body(stored: Stored, base_url: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document with one path per served entity. `base_url`: scheme and host."""
    endpoint, version = stored.endpoint, standing(stored).shown
    entities = version.config.served_entities
    paths = {
        f"/served-models/{entity.name}/invocations": {
            "post": _operation(entity.name, entity.external_model.task if entity.external_model else Task.CHAT)
        }
        for entity in entities
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": endpoint.endpoint_name, "version": str(version.number)},
        "servers": [{"url": f"{base_url.rstrip('/')}/serving-endpoints/{endpoint.endpoint_name}"}],
        "security": [{"bearer": []}],
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }


def _operation(name: str, task: Task) -> Json:
    ask, answer = _SCHEMAS[task]
    described: Json = {"description": "The model's answer", "content": {"application/json": {"schema": answer}}}
    if task is not Task.EMBEDDINGS:
        described["content"]["text/event-stream"] = {"schema": _TEXT}
    return {
        "operationId": f"query_{name}",
        "summary": f"Query the served entity {name} ({task})",
        "requestBody": {"required": True, "content": {"application/json": {"schema": ask}}},
        "responses": {"200": described, "default": {"description": "An error", "content": _json(_ERROR)}},
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _object(required: tuple[str, ...], **properties: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


_SAMPLING: dict[str, Json] = {
    "max_tokens": _INTEGER | {"minimum": 1},
    "temperature": _NUMBER | {"minimum": 0, "maximum": 2},
    "top_p": _NUMBER,
    "n": _INTEGER | {"minimum": 1},
    "stop": _TEXTS,
    "stream": {"type": "boolean", "default": False},
}
_USAGE = _object((), prompt_tokens=_INTEGER, completion_tokens=_INTEGER, total_tokens=_INTEGER)
_MESSAGE = _object(
    ("role",),
    role=_TEXT,
    content={"oneOf": [_TEXT, _list({"type": "object"}), {"type": "null"}]},
    tool_calls=_list({"type": "object"}),
    tool_call_id=_TEXT,
)
_ERROR = _object(("error_code", "message"), error_code=_TEXT, message=_TEXT)


def _choices(choice: Json) -> Json:
    return _object(
        ("choices",),
        id={"type": ["string", "null"]},
        object=_TEXT,
        created=_INTEGER,
        model=_TEXT,
        choices=_list(choice),
        usage=_USAGE,
    )


_SCHEMAS: dict[Task, tuple[Json, Json]] = {
    Task.CHAT: (
        _object(
            ("messages",),
            messages=_list(_MESSAGE) | {"minItems": 1},
            tools=_list({"type": "object"}),
            tool_choice={"oneOf": [_TEXT, {"type": "object"}]},
            response_format={"type": "object"},
            **_SAMPLING,
        ),
        _choices(_object(("message",), index=_INTEGER, message=_MESSAGE, finish_reason=_TEXT)),
    ),
    Task.COMPLETIONS: (
        _object(("prompt",), prompt=_TEXTS, **_SAMPLING),
        _choices(_object(("text",), index=_INTEGER, text=_TEXT, finish_reason=_TEXT)),
    ),
    Task.EMBEDDINGS: (
        _object(
            ("input",),
            input=_TEXTS,
            dimensions=_INTEGER,
            encoding_format={"type": "string", "enum": ["float", "base64"]},
            instruction=_TEXT,
        ),
        _object(
            ("data",),
            object=_TEXT,
            model=_TEXT,
            data=_list(
                _object(("embedding",), index=_INTEGER, embedding={"oneOf": [_list(_NUMBER), _TEXT]}, object=_TEXT)
            ),
            usage=_USAGE,
        ),
    ),
}
