"""AI21's types: its package as it was while it knew completions (later ones know chat only).

The package's client makes a request's body of keyword arguments, and reads replies into dataclasses.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pydantic
from ai21.clients.common import completion_base
from ai21.models import CompletionsResponse, Penalty
from ai21.types import NOT_GIVEN

from tests.proxy.providers.vendors.typed import fits

PATH = re.compile(r"/studio/v1/[^/]+/complete")


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """The body is what the package's client makes of it. The path alone names the model, as in the API's reference."""
    assert task == "completions" and not stream
    assert PATH.fullmatch(path), path
    parameters = inspect.signature(completion_base.Completion._create_body).parameters
    arguments: dict[str, Any] = {name: NOT_GIVEN for name in parameters if name != "self"}
    for name, value in body.items():
        argument = re.sub("([A-Z])", r"_\1", name).lower()
        assert argument in arguments, f"unknown {name}"
        kind = eval(str(parameters[argument].annotation).partition(" | ")[0], vars(completion_base))
        if kind is Penalty:
            fits(dict[str, float], value)
            arguments[argument] = Penalty.from_dict(value)
        else:
            fits(kind, value)
            arguments[argument] = value
    made = completion_base.Completion._create_body(None, **arguments)  # type: ignore[arg-type]
    assert made == body


def accept_reply(task: str, body: Any) -> None:
    """The body is one that the package's dataclasses write, their types checked."""
    reply = CompletionsResponse.from_dict(body)
    pydantic.TypeAdapter(CompletionsResponse).validate_python(dataclasses.asdict(reply), strict=False)
    assert _without_none(reply.to_dict()) == _without_none(body)


def accept_stream(task: str, raw: bytes) -> None:
    """There are none."""
    raise AssertionError("AI21's completions are not streamed")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
