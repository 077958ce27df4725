"""The demo provider's HTTP server; started by `cli.py` (`model-serving demo-provider`) and by `local/`."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from model_serving.demo_provider.answers import (
    Answer,
    BadRequestError,
    Json,
    Stamp,
    answer_chat,
    answer_completion,
    answer_embeddings,
    last_text,
)
from model_serving.demo_provider.faults import Dice
from model_serving.demo_provider.keys import AcceptedKeys
from model_serving.demo_provider.misdeeds import misbehave
from model_serving.demo_provider.wishes import UnknownWishError, Wish, parse_wish

MODELS = ("demo-chat", "demo-completions", "demo-embeddings")
_BABBLE = b'<html>lorem ipsum \xff\xfe {"choices": [ data: nonsense\n\n'
_LARGEST_BODY = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How the demo provider runs. `pace`: seconds between two events of a stream; `control_fd`: end with that pipe.

    `error_rate` is the part of calls that go wrong by themselves, `delay` the longest time in seconds that a call is
    held up by itself; `seed` makes both repeatable.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    keys: tuple[str, ...] = ()
    keys_file: Path | None = None
    pace: float = 0.02
    error_rate: float = 0.0
    delay: float = 0.0
    seed: int = 0
    control_fd: int | None = None


def run_demo_provider(settings: DemoSettings) -> int:
    """Serve until SIGTERM, SIGINT, or the end of file on the control pipe; returns the exit code."""
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        why = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror
        sys.stderr.write(f"demo provider: cannot listen on {where}: {why}; choose another --port or --host\n")
        return 2
    return 0


async def serve(settings: DemoSettings) -> None:
    """As `run_demo_provider`, within a running loop. Raises `OSError` when the address cannot be listened on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Of a person's own demo provider Ctrl-C means now; a child lets streams end, as proxies do.
    patience = 2.0 if settings.control_fd is None else 300.0
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.control_fd is not None:
        # Nobody writes to it: it becomes readable when its writer has died.
        loop.add_reader(settings.control_fd, stop.set)
    runner = web.AppRunner(build_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=patience)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        _announce(settings, runner.addresses[0][1])
        await stop.wait()
    finally:
        if settings.control_fd is not None:
            loop.remove_reader(settings.control_fd)
        await runner.cleanup()


def _announce(settings: DemoSettings, port: int) -> None:
    """Says where it listens: to a parent in the words of all child processes, else to people."""
    text = f"demo provider: http://{settings.host}:{port}/v1"
    sys.stdout.write((json.dumps({"listening": port}) if settings.control_fd is not None else text) + "\n")
    sys.stdout.flush()


def build_app(settings: DemoSettings) -> web.Application:
    """The application, for `serve` and for tests."""
    calls = _Calls(settings.pace, Dice(settings.error_rate, settings.delay, settings.seed))
    app = web.Application(
        middlewares=[_openai_errors(AcceptedKeys(settings.keys, settings.keys_file))], client_max_size=_LARGEST_BODY
    )
    app.router.add_get("/healthz", _healthy)
    app.router.add_get("/v1/models", _list_models)
    app.router.add_get("/v1/models/{model}", _show_model)
    app.router.add_post("/v1/chat/completions", calls.chat)
    app.router.add_post("/v1/completions", calls.completion)
    app.router.add_post("/v1/embeddings", calls.embeddings)
    return app


class _Calls:
    """The three model calls."""

    def __init__(self, pace: float, dice: Dice) -> None:
        self._pace = pace
        self._dice = dice

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body, wish = await _read_call(request)
        return await self._respond(request, body, wish, answer_chat(body, wish, _stamp()))

    async def completion(self, request: web.Request) -> web.StreamResponse:
        body, wish = await _read_call(request)
        return await self._respond(request, body, wish, answer_completion(body, wish, _stamp()))

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        body, wish = await _read_call(request)
        return await self._respond(request, {}, wish, Answer(answer_embeddings(body), lambda: iter(())))

    async def _respond(self, request: web.Request, body: Json, wish: Wish, answer: Answer) -> web.StreamResponse:
        wish = self._dice.cast(wish)
        await asyncio.sleep(wish.delay)
        if wish.status != 200:
            return _wished_error(wish)
        stream = bool(body.get("stream"))
        if wish.garbage:
            content_type = "text/event-stream" if stream else "application/json"
            return web.Response(body=_BABBLE, content_type=content_type)
        payload = json.dumps(answer.whole).encode()
        if wish.broken_json:
            payload = payload[: len(payload) // 2]
        if wish.by_hand:
            return await misbehave(request, wish, payload, answer.events() if stream else None)
        if stream:
            return await self._stream(request, wish, answer.events())
        await asyncio.sleep(wish.stall)
        return (
            web.Response(body=payload, content_type=wish.type or "application/json")
            if wish.cut is None
            else await _cut_body(request, payload)
        )

    async def _stream(self, request: web.Request, wish: Wish, events: Iterator[Json]) -> web.StreamResponse:
        kind = wish.type or "text/event-stream"
        response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-cache"})
        await response.prepare(request)
        pace = self._pace if wish.pace is None else wish.pace
        for number, event in enumerate(events):
            if number == wish.cut:
                return _drop(request, response)
            await asyncio.sleep(pace if number else 0)
            await asyncio.sleep(wish.stall if number == 1 else 0)
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        if not wish.open_end:
            await response.write(b"data: [DONE]\n\n")
        return response


async def _read_call(request: web.Request) -> tuple[Json, Wish]:
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise BadRequestError("We could not parse the JSON body of your request.", "body") from None
    if not isinstance(body, dict):
        raise BadRequestError("The body must be a JSON object.", "body")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequestError("you must provide a model parameter", "model")
    return body, parse_wish(body["model"], last_text(body))


async def _cut_body(request: web.Request, payload: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(payload))})
    await response.prepare(request)
    await response.write(payload[: len(payload) // 2])
    return _drop(request, response)


def _drop(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return response


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "demo"}


async def _list_models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [_model(name) for name in MODELS]})


async def _show_model(request: web.Request) -> web.Response:
    return web.json_response(_model(request.match_info["model"]))


def _stamp() -> Stamp:
    return Stamp(id=uuid.uuid4().hex, created=int(time.time()))


def _error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> web.Response:
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return web.json_response({"error": {"message": message, "type": kind, "param": param, "code": code}}, status=status)


def _wished_error(wish: Wish) -> web.Response:
    response = _error(wish.status, f"the caller asked the demo provider for status {wish.status}")
    if wish.retry_after is not None:
        response.headers["Retry-After"] = str(wish.retry_after)
    if wish.retry_date is not None:
        response.headers["Retry-After"] = formatdate(time.time() + wish.retry_date, usegmt=True)
    return response


def _given_key(request: web.Request) -> str:
    """The key as OpenAI, Azure or a custom upstream gets it."""
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return bearer or request.headers.get("api-key") or request.headers.get("x-api-key") or ""


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _openai_errors(keys: AcceptedKeys) -> Middleware:
    """The middleware that checks the key and turns every refusal into OpenAI's shape."""

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path != "/healthz" and not keys.accept(_given_key(request)):
            return _error(401, "Incorrect API key provided.", code="invalid_api_key")
        try:
            return await handler(request)
        except BadRequestError as refusal:
            return _error(400, str(refusal), param=refusal.param)
        except UnknownWishError as refusal:
            return _error(400, str(refusal), code="unknown_wish")
        except web.HTTPException as refusal:
            message = f"Invalid URL ({request.method} {request.path})" if refusal.status == 404 else refusal.reason
            return _error(refusal.status, message)

    return middleware
