"""The REST API as an ASGI application: routes, callers, errors. Built by `server.py`; knows no platform by name."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route

from model_serving.bearer import bearer_token
from model_serving.management.call import Call, Operation, Patience, answer, read_object
from model_serving.management.convert.problems import InvalidBody
from model_serving.management.errors import (
    ApiError,
    DoesNotExist,
    InvalidParameter,
    MethodNotAllowed,
    Unauthenticated,
    Unavailable,
    of_store,
)
from model_serving.stores import Caller, Platform, StoreError

log = logging.getLogger(__name__)

MAX_CALLS = 256
"""Calls at a time; each may hold a body and wait for the operator."""
_WITH_BODY = ("POST", "PUT", "PATCH")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OPENAI_PATHS = ("/chat/completions", "/completions", "/embeddings", "/models")
_TOKEN = re.compile(r"[\x21-\x7e]+")


def build_app(platform: Platform, operations: Sequence[Operation], patience: Patience | None = None) -> Starlette:
    """The application for one workspace."""
    routes = [Route("/healthz", _healthy, methods=["GET"])]
    workspace = _Workspace(platform, patience or Patience())
    routes += [Route(each.path, _serve(workspace, each), methods=[each.method]) for each in operations]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route})
    app.router.redirect_slashes = False
    return app


@dataclass(slots=True)
class _Workspace:
    """What all calls share, and how many are under way."""

    platform: Platform
    patience: Patience
    calls: int = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """For one call. `Unavailable` when all are taken."""
        if self.calls >= MAX_CALLS:
            raise Unavailable(f"{MAX_CALLS} calls are under way here: send it again a little later")
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1


def _serve(workspace: _Workspace, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            with workspace.place():
                call = await _call(workspace, operation, request)
                response = answer(await operation.handler(call))
        except ApiError as error:
            return _refusal(error)
        except StoreError as error:
            return _refusal(of_store(error))
        except InvalidBody as error:
            return _refusal(InvalidParameter(error.message))
        except Exception as error:
            # Without the error's own words: they may quote what was sent.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s %s failed with %s\n%s", operation.method, operation.path, type(error).__name__, where)
            return _refusal(ApiError("this server has failed: see its log, and report it with the time of the call"))
        if operation.method != "GET":
            log.info("%s %s by %s", operation.method, request.scope["path"], call.caller.name)
        return response

    return serve


async def _call(workspace: _Workspace, operation: Operation, request: Request) -> Call:
    if _CONTROL.search(request.scope["path"]):
        raise _no_path()  # a line's end at the end of a path would pass for the path without it
    return Call(
        workspace.platform,
        await _caller(workspace.platform, request),
        path={name: str(value) for name, value in request.path_params.items()},
        query=dict(request.query_params),
        body=await read_object(request) if operation.method in _WITH_BODY else {},
        base_url=_base_url(request),
        patience=workspace.patience,
    )


async def _caller(platform: Platform, request: Request) -> Caller:
    token = bearer_token(request.headers.get("authorization", "").encode("latin-1"))
    if not token:
        raise Unauthenticated("no credentials: send the header Authorization: Bearer TOKEN")
    known = _TOKEN.fullmatch(token.decode("latin-1"))
    caller = await platform.callers.identify(known[0]) if known else None
    if caller is None:
        raise Unauthenticated("the token is not known here: send a valid one as Authorization: Bearer TOKEN")
    return caller


def _base_url(request: Request) -> str:
    scheme = "https" if request.headers.get("x-forwarded-proto", "").lower() == "https" else request.url.scheme
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def _refusal(error: ApiError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.status, headers)


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _no_route(request: Request, error: Exception) -> Response:
    if allowed := _methods(request):
        refusal = _refusal(MethodNotAllowed(f"{request.method} is not a method of this path: use {allowed}"))
        refusal.headers["Allow"] = allowed
        return refusal
    return _refusal(_no_path(request.url.path))


def _no_path(path: str = "") -> DoesNotExist:
    if path.startswith("/v1/") or path in _OPENAI_PATHS:
        return DoesNotExist("OpenAI's paths stand below /serving-endpoints here: make that the client's base URL")
    return DoesNotExist("there is no such path in this API: see GET /api/2.0/openapi.json")


def _methods(request: Request) -> str:
    """All methods that some route has for this path."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = {method for r in routes if r.matches(request.scope)[0] is not Match.NONE for method in r.methods or ()}
    return ", ".join(sorted(found))
