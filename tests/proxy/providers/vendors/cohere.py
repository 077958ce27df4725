"""Cohere's types: the parameters of its package's client, and its models of replies and events.

The models take unknown fields and unknown words in place of their literals: here they are read as TypedDicts, which
take neither.
"""

from __future__ import annotations

import inspect
import json
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
import typing_extensions as te
from cohere import EmbedByTypeResponse, V2ChatResponse, V2ChatStreamResponse
from cohere.v2.raw_client import RawV2Client

from tests.proxy.providers.vendors.typed import fits

METHODS: dict[tuple[str, bool], Any] = {
    ("/v2/chat", False): RawV2Client.chat,
    ("/v2/chat", True): RawV2Client.chat_stream,
    ("/v2/embed", False): RawV2Client.embed,
}
PATHS = {"chat": "/v2/chat", "completions": "/v2/chat", "embeddings": "/v2/embed"}


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """The body is what the package's client sends for its method of that path."""
    assert path.endswith(PATHS[task]), path
    fields = dict(body)
    if task != "embeddings":
        assert fields.pop("stream") is stream
    fits(_parameters(METHODS[PATHS[task], stream]), fields)


def accept_reply(task: str, body: Any) -> None:
    """The body is one that the package's model writes."""
    _accept(EmbedByTypeResponse if task == "embeddings" else V2ChatResponse, body)


def accept_stream(task: str, raw: bytes) -> None:
    """Each event is one that the package's models write, and has the name of its type."""
    for event in raw.decode().replace("\r\n", "\n").strip("\n").split("\n\n"):
        name, data = event.split("\n")
        body = json.loads(data.removeprefix("data: "))
        assert name == f"event: {body['type']}"
        _accept(V2ChatStreamResponse, body)


def _accept(model: Any, body: Any) -> None:
    fits(_typed(model), body)
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(model)
    assert adapter.dump_python(adapter.validate_python(body), exclude_unset=True, by_alias=True) == body


@cache
def _parameters(method: Any) -> Any:
    """A method's keyword arguments; `OMIT` marks those that may be left out."""
    hints = te.get_type_hints(method, include_extras=True)
    fields = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name != "request_options":
            needed = parameter.default is parameter.empty
            fields[name] = _field(hints[name], needed)
    return te.TypedDict("Parameters", fields)  # type: ignore[operator]


def _field(kind: Any, needed: bool) -> Any:
    return te.Required[_typed(kind)] if needed else te.NotRequired[_typed(kind)]


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _typed(kind: Any) -> Any:
    """A type as `fits` reads it: models as TypedDicts, words as literals without the package's `Any` beside them."""
    origin, inner = _origin(kind), get_args(kind)
    if hasattr(kind, "__metadata__"):  # Annotated
        return _typed(inner[0])
    if origin is Union:
        known = any(_origin(one) is Literal for one in inner)
        return Union[tuple(_typed(one) for one in inner if not (known and one is Any))]  # noqa: UP007
    if origin is not None and origin is not Literal:
        return origin[tuple(_typed(one) for one in inner)]
    return _model(kind) if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel) else kind


@cache
def _model(model: type[pydantic.BaseModel]) -> Any:
    """What tells unions apart must be there, although the package fills it in."""
    hints = te.get_type_hints(model)
    fields = {
        field.alias or name: _field(hints[name], field.is_required() or _origin(hints[name]) is Literal)
        for name, field in model.model_fields.items()
    }
    return te.TypedDict(model.__name__, fields)  # type: ignore[operator]
