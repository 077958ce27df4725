"""The REST API as an ASGI application: routes, callers, errors. Built by `server.py`; knows no platform by name."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from model_serving.management.call import Call, Operation, answer, read_object
from model_serving.management.errors import ApiError, DoesNotExist, MethodNotAllowed, Unauthenticated, of_store
from model_serving.stores import Caller, Platform, StoreError

log = logging.getLogger(__name__)


def build_app(platform: Platform, operations: Sequence[Operation]) -> Starlette:
    """The application for one workspace."""
    routes = [Route("/healthz", _healthy, methods=["GET"])]
    routes += [Route(each.path, _serve(platform, each), methods=[each.method]) for each in operations]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_route, Exception: _broken})
    app.router.redirect_slashes = False
    return app


def _serve(platform: Platform, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            caller = await _caller(platform, request)
            body = await read_object(request)
            call = Call(
                platform,
                caller,
                path={name: str(value) for name, value in request.path_params.items()},
                query=dict(request.query_params),
                body=body,
                base_url=_base_url(request),
            )
            return answer(await operation.handler(call))
        except ApiError as error:
            return _refusal(error)
        except StoreError as error:
            return _refusal(of_store(error))

    return serve


async def _caller(platform: Platform, request: Request) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("no credentials: send the header Authorization: Bearer TOKEN")
    caller = await platform.callers.identify(token.strip())
    if caller is None:
        raise Unauthenticated("the token is not known here: send a valid one as Authorization: Bearer TOKEN")
    return caller


def _base_url(request: Request) -> str:
    scheme = "https" if request.headers.get("x-forwarded-proto", "").lower() == "https" else request.url.scheme
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def _refusal(error: ApiError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    return JSONResponse(error.body(), error.status, headers)


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _no_route(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        refusal = _refusal(MethodNotAllowed(f"{request.method} is not a method of this path"))
        refusal.headers.update(error.headers or {})
        return refusal
    return _refusal(DoesNotExist("there is no such path in this API"))


async def _broken(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _refusal(ApiError("this server has failed: see its log, and report it with the time of the call"))
