"""A call's way through the proxy: who calls, may they, within limits, which target, off it goes.

`Pipeline.handle` is the handler of the data port's server. Everything up to sending is offline and immediate.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from model_serving.proxy.auth import Principal, authenticate
from model_serving.proxy.call import Route, model_of, parse_call, parse_fields, route_of
from model_serving.proxy.errors import EndpointNotFound, LimitExceeded, Overloaded, ProxyError, Unavailable
from model_serving.proxy.http.exchange import Exchange, Request
from model_serving.proxy.http.head import JSON, lines
from model_serving.proxy.limits import Limiter
from model_serving.proxy.relay import InFlight, Relay, Timeouts
from model_serving.proxy.routing import choose
from model_serving.proxy.runtime import CompiledTarget, Runtime
from model_serving.proxy.state import State
from model_serving.proxy.upstream import Envelope, Services, TargetCall

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}").fullmatch


class RequestIds:
    """Ids of calls: the client's own where it is sane, else a new one."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._numbers = itertools.count(1)

    def head(self, request: Request) -> bytes:
        """The header line of the answer."""
        given = request.headers.get(b"x-request-id")
        if given is not None and _SANE_ID(given):
            return b"x-request-id: %b\r\n" % given
        return b"x-request-id: %b-%x\r\n" % (self._prefix, next(self._numbers))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much at once, and how long a stream may pause, in seconds."""

    in_flight: int = 2048
    stream_idle_seconds: float = 120.0


@dataclass(slots=True)
class _Course:
    """What is known of a call while it passes: errors are answered in the light of it."""

    envelope: Envelope
    route: Route | None = None
    runtime: Runtime | None = None
    target: CompiledTarget | None = None


class Pipeline:
    """Serves the calls of one endpoint."""

    def __init__(
        self, state: State, services: Services, ids: RequestIds, *, bounds: Bounds, lot: Callable[[], float]
    ) -> None:
        self.in_flight = InFlight()
        self.limiter = Limiter()
        self._state = state
        self._services = services
        self._ids = ids
        self._bounds = bounds
        self._lot = lot

    def handle(self, exchange: Exchange) -> None:
        """Serves one request: answers it, now or later."""
        course = _Course(Envelope(self._services.now(), self._ids.head(exchange.request), False))
        try:
            self._serve(exchange, course)
        except ProxyError as error:
            self._refuse(exchange, course, error)

    def _serve(self, exchange: Exchange, course: _Course) -> None:
        request = exchange.request
        route = course.route = route_of(request.method, request.target)
        runtime = course.runtime = self._runtime()
        principal = authenticate(self._state.authenticators, request.headers)
        if route.models:
            self._list_models(exchange, course, principal)
            return
        fields = parse_fields(request.body)
        _require_endpoint(route.endpoint or model_of(fields), runtime)
        runtime.access.require_query(principal, runtime.endpoint)
        call = parse_call(route, fields, runtime.task, runtime.endpoint)
        target = course.target = choose(runtime.targets, call.entity, self._lot())
        envelope = Envelope(course.envelope.began, course.envelope.id_head, route.openai)
        delivery = TargetCall(self._services, target, call, envelope)
        send = delivery.first()
        self._reserve(runtime, principal)  # last: what is refused before anything is sent does not count
        timeouts = Timeouts(runtime.config.request_timeout_seconds, self._bounds.stream_idle_seconds)
        Relay(exchange, delivery, self.in_flight, timeouts).start(send)

    def _runtime(self) -> Runtime:
        if len(self.in_flight) >= self._bounds.in_flight:
            raise Overloaded("this proxy serves as many calls as it can: try again in a second", retry_after=1.0)
        if self._state.runtime is None:
            raise Unavailable("this endpoint is starting: its configuration is not loaded yet")
        return self._state.runtime

    def _reserve(self, runtime: Runtime, principal: Principal) -> None:
        if not runtime.limits:
            return
        try:
            self.limiter.reserve(runtime.limits, principal.name, self._services.now())
        except LimitExceeded as error:
            self._services.metrics.limited(error.key)
            raise

    def _list_models(self, exchange: Exchange, course: _Course, principal: Principal) -> None:
        runtime = course.runtime
        assert runtime is not None
        names = [runtime.endpoint] if runtime.access.allows(principal) else []
        exchange.respond(200, lines([JSON]) + runtime.config_head + course.envelope.id_head, models_body(names))

    def _refuse(self, exchange: Exchange, course: _Course, error: ProxyError) -> None:
        head = lines([JSON, *error.headers()]) + course.envelope.id_head
        entity = ""
        if course.target is not None:
            head += course.target.answer_head
            entity = course.target.entity
        elif course.runtime is not None:
            head += course.runtime.config_head
        exchange.respond(error.status, head, error.body(course.route is not None and course.route.openai))
        task = course.runtime.task if course.runtime is not None else ""
        self._services.metrics.call(entity, task, error.status, self._services.now() - course.envelope.began)


def _require_endpoint(name: str, runtime: Runtime) -> None:
    if name != runtime.endpoint:
        raise EndpointNotFound(f"the serving endpoint {name[:128]} does not exist here")


def models_body(names: list[str]) -> bytes:
    """OpenAI's list of models, which are our endpoints."""
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "model-serving"} for name in names]
    return msgspec.json.encode({"object": "list", "data": models})
