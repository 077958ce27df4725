"""OpenAI's types: the openai package's parameters, replies and chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pydantic
from openai.types import CompletionCreateParams, EmbeddingCreateParams
from openai.types.chat import CompletionCreateParams as ChatParams

from tests.proxy.providers.answers import events_of, read_events, read_whole
from tests.proxy.providers.vendors.typed import fits

PARAMS: dict[str, Any] = {
    "chat": ChatParams,
    "completions": CompletionCreateParams,
    "embeddings": EmbeddingCreateParams,
}
PATHS = {"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}
AZURE = {"content_filter_results", "prompt_filter_results"}
"""What Azure adds, whose API is typed nowhere else."""


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """Path and body are the package's; a stream says so. On Azure the path names the model."""
    path, _, query = path.partition("?")
    assert path.endswith(PATHS[task])
    if "/openai/deployments/" in path:
        assert "model" not in body and query.startswith("api-version=")
        body = body | {"model": "the deployment's"}
    fits(PARAMS[task], body)
    assert body.get("stream", False) is stream


def accept_reply(task: str, body: Any) -> None:
    """The body has no field that the package does not know."""
    _known([read_whole(task, body)])


def accept_stream(task: str, raw: bytes) -> None:
    """Each event is a chunk, the last one the end mark."""
    _known(read_events(task, events_of(raw)))


def _known(models: Iterable[pydantic.BaseModel]) -> None:
    unknown = {name for model in models for part in _parts(model) for name in part.model_extra or {}}
    assert unknown <= AZURE, f"unknown: {sorted(unknown - AZURE)}"


def _parts(value: Any) -> list[pydantic.BaseModel]:
    """A model and all those within it."""
    if isinstance(value, pydantic.BaseModel):
        return [value, *(part for field in type(value).model_fields for part in _parts(getattr(value, field)))]
    return [part for item in value for part in _parts(item)] if isinstance(value, list) else []
