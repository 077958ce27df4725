"""One call of the REST API: who asks, what the path and body hold. What every handler gets; made by `app.py`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from model_serving.management.errors import BadRequest, TooLarge
from model_serving.stores import Caller, Platform

MAX_BODY_BYTES = 1024 * 1024
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Call:
    """`path` and `query` hold the parameters of both; `body` is the JSON object, empty when none was sent."""

    platform: Platform
    caller: Caller
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    base_url: str = ""
    """Scheme and host as the client spelt them."""


Handler = Callable[[Call], Awaitable[Response | dict[str, Any]]]
"""Answers a call: with a JSON object (status 200) or a whole response. Raises `ApiError` or `StoreError`."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the API: method and path (Starlette's spelling), and who answers. `open`: without a caller."""

    method: str
    path: str
    handler: Handler
    summary: str = ""


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; empty for an empty body. BadRequest, TooLarge."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes: send a smaller one")
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, _Twice) else "the body is not JSON: send a JSON object"
        raise BadRequest(told) from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if _depth(body) > _MAX_DEPTH:
        raise BadRequest(f"the body is nested deeper than {_MAX_DEPTH} levels")
    return body


class _Twice(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Twice(f"the field {twice[:64]} stands in one object twice: remove one of them")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _depth(value: Any) -> int:
    """How deep lists and objects are nested; without recursion, because a body may be nested very deep."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth


def answer(result: Response | dict[str, Any]) -> Response:
    """What a handler returned, as a response."""
    return result if isinstance(result, Response) else JSONResponse(result)
