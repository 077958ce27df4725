"""A call's way through the proxy: who calls, may they, within limits, which target, off it goes.

`Pipeline.handle` is the handler of the data port's server. Everything up to sending is offline and immediate.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from model_serving.proxy.auth import Principal
from model_serving.proxy.call import model_of, parse_call, parse_fields, route_of
from model_serving.proxy.course import Course
from model_serving.proxy.errors import EndpointNotFound, LimitExceeded, Overloaded, ProxyError, Unavailable
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.head import JSON, JSON_HEAD, lines
from model_serving.proxy.limits import Asking, Limiter
from model_serving.proxy.parked import Parked, ParkingLot
from model_serving.proxy.relay import CLIENT_GONE, InFlight, Relay, Timeouts, as_proxy_error
from model_serving.proxy.routing import choose
from model_serving.proxy.runtime import Runtime
from model_serving.proxy.state import State
from model_serving.proxy.upstream import Services, TargetCall

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}").fullmatch
_PATIENCE_SECONDS = 2.0
"""How long a call waits for the limits' common store before it is refused."""


class RequestIds:
    """Ids of calls: the client's own where it is sane, else a new one."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._numbers = itertools.count(1)

    def of(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The id of the call that a request with these headers makes."""
        given = headers.get(b"x-request-id")
        if given is not None and _SANE_ID(given):
            return given
        return b"%b-%x" % (self._prefix, next(self._numbers))

    def head(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The header line of that id."""
        return b"x-request-id: %b\r\n" % self.of(headers)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much at once, and how long a stream may pause, in seconds."""

    in_flight: int = 2048
    stream_idle_seconds: float = 120.0
    first_byte_seconds: float = 120.0
    """Until a stream begins; an answer that comes whole may take all the time of its call."""


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
        self._tracer = services.journal.tracer
        self._parked: ParkingLot[Course] = ParkingLot()
        self._timed: Runtime | None = None
        self._timeouts = self._stream_timeouts = Timeouts(0.0, 0.0, 0.0)
        """Those of the runtime `_timed`, for whole answers and for streams."""

    def handle(self, exchange: Exchange) -> None:
        """Serves one request: answers it, now or later."""
        request = exchange.request
        course = Course(request, self._services.now(), self._ids.of(request.headers))
        if self._tracer is not None:
            self._tracer.began(course)
        try:
            self._serve(exchange, course)
        except ProxyError as error:
            self._refuse(exchange, course, error)

    def sweep(self, now: float) -> None:
        """Ends what takes too long; called a few times a second."""
        self.in_flight.sweep(now)
        for parked in self._parked.overdue(now):
            self._give_up(parked, now)

    def _serve(self, exchange: Exchange, course: Course) -> None:
        request = course.request
        route = course.route = route_of(request.method, request.target)
        runtime = course.runtime = self._runtime()
        principal = course.principal = self._state.identity.of(request.headers, self._services.wall())
        if route.models:
            self._list_models(exchange, course, principal)
            return
        fields = parse_fields(request.body)
        _require_endpoint(route.endpoint or model_of(fields), runtime)
        runtime.access.require_query(principal, runtime.endpoint)
        call = course.call = parse_call(route, fields, runtime.task, runtime.endpoint)
        course.target = choose(runtime.targets, call.entity, self._lot())
        delivery = TargetCall(self._services, course)
        if runtime.limits and not self._admitted(exchange, course):  # last: what cannot be sent does not count
            return
        Relay(exchange, delivery, self.in_flight, self._timeouts_of(runtime, call.stream)).start()

    def _timeouts_of(self, runtime: Runtime, stream: bool) -> Timeouts:
        if self._timed is not runtime:
            total, bounds = runtime.config.request_timeout_seconds, self._bounds
            self._timed, self._timeouts = runtime, Timeouts(total, bounds.stream_idle_seconds, total)
            first = min(bounds.first_byte_seconds, total)
            self._stream_timeouts = Timeouts(total, bounds.stream_idle_seconds, first)
        return self._stream_timeouts if stream else self._timeouts

    def _runtime(self) -> Runtime:
        if len(self.in_flight) + len(self._parked.calls) >= self._bounds.in_flight:
            raise Overloaded("this proxy serves as many calls as it can: try again in a second", retry_after=1.0)
        if self._state.runtime is None:
            raise Unavailable("this endpoint is starting: its configuration is not loaded yet")
        return self._state.runtime

    def _admitted(self, exchange: Exchange, course: Course) -> bool:
        """Whether the limits let the call pass now; if they cannot tell yet, it is parked."""
        runtime, principal, call = course.runtime, course.principal, course.call
        assert runtime is not None and principal is not None and call is not None
        asking, now = Asking(principal, course.request.body, call.fields), self._services.now()
        try:
            if self.limiter.ledger is None:
                course.reservation = self.limiter.reserve(runtime.limits, asking, now, _never)
                return True
            parked = Parked(exchange, course, course.began + _PATIENCE_SECONDS)
            course.reservation = self.limiter.reserve(runtime.limits, asking, now, lambda: self._again(parked))
        except LimitExceeded as error:
            self._services.metrics.limited(error.key)
            raise
        if course.reservation is not None:
            return True
        self._parked.park(parked)
        return False

    def _again(self, parked: Parked[Course]) -> None:
        """The limits can tell more about a parked call, which begins anew: much may have changed meanwhile."""
        if not self._parked.leave(parked):  # it was given up, or will be at the next sweep
            return
        try:
            self._serve(parked.exchange, parked.call)
        except Exception as error:
            self._refuse(parked.exchange, parked.call, as_proxy_error(error))

    def _give_up(self, parked: Parked[Course], now: float) -> None:
        if parked.exchange.done:  # its client has left
            parked.call.status = CLIENT_GONE
            self._services.journal.ended(parked.call, now)
        else:
            late = Unavailable("the limits' common store did not answer in time")
            self._refuse(parked.exchange, parked.call, late)

    def _list_models(self, exchange: Exchange, course: Course, principal: Principal) -> None:
        runtime = course.runtime
        assert runtime is not None
        names = [runtime.endpoint] if runtime.access.allows(principal) else []
        exchange.respond(200, JSON_HEAD + course.head(), models_body(names))
        course.status = 200
        self._services.journal.ended(course, self._services.now())

    def _refuse(self, exchange: Exchange, course: Course, error: ProxyError) -> None:
        head = lines([JSON, *error.headers()]) + course.head()
        exchange.respond(error.status, head, error.body(course.route.openai))
        course.status, course.error_code = error.status, error.error_code
        self._services.journal.ended(course, self._services.now())


def _never() -> None:
    """What a limiter without a common store has to wait for."""


def _require_endpoint(name: str, runtime: Runtime) -> None:
    if name != runtime.endpoint:
        raise EndpointNotFound(f"the serving endpoint {name[:128]} does not exist here")


def models_body(names: list[str]) -> bytes:
    """OpenAI's list of models, which are our endpoints."""
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "model-serving"} for name in names]
    return msgspec.json.encode({"object": "list", "data": models})
