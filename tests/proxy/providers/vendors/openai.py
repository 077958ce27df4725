"""OpenAI's types: the openai package's parameters, replies and chunks."""

from __future__ import annotations

import json
from typing import Any

import pydantic
from openai.types import Completion, CompletionCreateParams, CreateEmbeddingResponse, EmbeddingCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk, CompletionCreateParams as ChatParams

from tests.proxy.providers.vendors.typed import fits

PARAMS: dict[str, Any] = {
    "chat": ChatParams,
    "completions": CompletionCreateParams,
    "embeddings": EmbeddingCreateParams,
}
REPLIES: dict[str, type[pydantic.BaseModel]] = {
    "chat": ChatCompletion,
    "completions": Completion,
    "embeddings": CreateEmbeddingResponse,
}
CHUNKS: dict[str, type[pydantic.BaseModel]] = {"chat": ChatCompletionChunk, "completions": Completion}


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """The body fits the package's parameters; a stream says so."""
    fits(PARAMS[task], body)
    assert body.get("stream", False) is stream


def accept_reply(task: str, body: Any) -> None:
    """The body is one that the package's model writes: nothing in it is unknown."""
    model = REPLIES[task].model_validate_json(json.dumps(body), strict=True)
    unknown = [name for part in parts_of(model) for name in part.model_extra or {}]
    assert not unknown, f"unknown: {unknown}"


def accept_stream(task: str, raw: bytes) -> None:
    """Each event is a chunk, the last one the end mark."""
    *events, end = [event for event in raw.replace(b"\r\n", b"\n").split(b"\n\n") if event]
    assert end == b"data: [DONE]"
    for event in events:
        model = CHUNKS[task].model_validate_json(event.removeprefix(b"data: "), strict=True)
        unknown = [name for part in parts_of(model) for name in part.model_extra or {}]
        assert not unknown, f"unknown: {unknown}"


def parts_of(value: Any) -> list[pydantic.BaseModel]:
    """A model and all those within it."""
    if isinstance(value, pydantic.BaseModel):
        inner = [part for field in type(value).model_fields for part in parts_of(getattr(value, field))]
        return [value, *inner]
    return [part for item in value for part in parts_of(item)] if isinstance(value, list) else []
