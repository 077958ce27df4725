"""One call of the REST API: who asks, what the path and body hold. What every handler gets; made by `app.py`."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from model_serving.management.errors import BadRequest, TooLarge, TooSlow
from model_serving.stores import Caller, Platform

MAX_BODY_BYTES = 1024 * 1024
_BODY_SECONDS = 30.0
_MAX_DEPTH = 64
_MAX_WARNING = 512

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may wait for the operator, in seconds: for a new endpoint to serve, a change to be observed."""

    ready: float = 1.5
    observed: float = 4.0
    poll: float = 0.1
    sleep: Sleep = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Call:
    """`path` and `query` hold the parameters of both; `body` is the JSON object, empty when none was sent."""

    platform: Platform
    caller: Caller
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict, repr=False)  # it may hold keys
    base_url: str = ""
    """Scheme and host as the client spelt them."""
    patience: Patience = field(default_factory=Patience)

    @property
    def name(self) -> str:
        """The endpoint that the path names."""
        return self.path["name"]


Handler = Callable[[Call], Awaitable[Response | dict[str, Any]]]
"""Answers a call: with a JSON object (status 200) or a whole response. Raises `ApiError` or `StoreError`.

A member `warnings` of the object, a list of sentences, is sent as `Warning` headers too.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the API: method and path (Starlette's spelling), who answers, and what its document says.

    `request` and `response` name schemas of `schemas.py`; empty: no body, and any object.
    """

    method: str
    path: str
    handler: Handler
    summary: str = ""
    request: str = ""
    response: str = ""
    content_type: str = "application/json"
    query: tuple[str, ...] = ()
    """Parameters of the query that it reads."""


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; empty for an empty body. BadRequest, TooLarge, TooSlow."""
    raw = await _read(request)
    return parse_object(raw) if raw.strip() else {}


def parse_object(raw: bytes | str) -> dict[str, Any]:
    """A JSON object, judged as strictly as it is for a call. BadRequest."""
    try:
        body = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(body, ensure_ascii=False).encode()  # half a character, as \ud800, could not be sent back
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, _Told) else "the body is not JSON: send a JSON object"
        raise BadRequest(told) from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if _depth(body) > _MAX_DEPTH:
        raise BadRequest(f"the body is nested deeper than {_MAX_DEPTH} levels: send a flatter one")
    return body


async def _read(request: Request) -> bytes:
    raw = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_BODY_BYTES:
                    raise TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes: send a smaller one")
    except ClientDisconnect:
        raise BadRequest("the body ended before its length") from None
    except TimeoutError:
        raise TooSlow(f"the body did not arrive within {_BODY_SECONDS:.0f} seconds") from None
    return bytes(raw)


class _Told(ValueError):
    """A fault of the body that has words of its own."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Told(f"the field {_printable(twice)} stands in one object twice: remove one of them")
    return found


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:64])


def _no_constant(text: str) -> Any:
    raise _Told(f"{text} is not JSON: send a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Told("a number is larger than any that can be kept: send a smaller one")
    return number


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
    if isinstance(result, Response):
        return result
    response = JSONResponse(result)
    for warning in result.get("warnings", ()):
        response.headers.append("Warning", f'299 - "{_header_text(warning)}"')
    return response


def _header_text(text: str) -> str:
    ascii_only = text.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() and c not in '"\\' else "'" for c in ascii_only)[:_MAX_WARNING]
