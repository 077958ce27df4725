"""Servers that speak OpenAI's API, such as vLLM: OpenAI's types, with fields of the server's own beside OpenAI's."""

from __future__ import annotations

from typing import Any

import typing_extensions as te

from tests.proxy.providers.answers import events_of, read_events, read_whole
from tests.proxy.providers.vendors.openai import PARAMS
from tests.proxy.providers.vendors.typed import fits


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """What OpenAI knows of the body is as OpenAI has it."""
    known = {name for kind in te.get_args(PARAMS[task]) or [PARAMS[task]] for name in te.get_type_hints(kind)}
    fits(PARAMS[task], {name: value for name, value in body.items() if name in known})
    assert body.get("stream", False) is stream


def accept_reply(task: str, body: Any) -> None:
    """The openai package reads it."""
    read_whole(task, body)


def accept_stream(task: str, raw: bytes) -> None:
    """The openai package reads it."""
    read_events(task, events_of(raw))
