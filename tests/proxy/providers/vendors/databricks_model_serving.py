"""Other serving endpoints: OpenAI's types with Databricks' own fields, of which no package has types."""

from __future__ import annotations

from typing import Any

from tests.proxy.providers.answers import events_of, read_events, read_whole
from tests.proxy.providers.vendors import custom

OWN = {"cache_control", "instruction"}


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """The path names the endpoint, so the body does not."""
    assert path.endswith("/invocations") and "model" not in body
    custom.accept_request(task, stream, path, _without(body, OWN) | {"model": "the path's"})


def accept_reply(task: str, body: Any) -> None:
    """The openai package reads it, but for the list of thoughts and text."""
    read_whole(task, body)


def accept_stream(task: str, raw: bytes) -> None:
    """The openai package reads it, but for the list of thoughts and text."""
    read_events(task, events_of(raw))


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, names) for name, item in value.items() if name not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value
