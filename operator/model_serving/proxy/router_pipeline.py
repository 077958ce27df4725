"""A call's way through the router: who calls, which endpoint, which of its proxies; or wait until it has started."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from model_serving.proxy.access import Access
from model_serving.proxy.auth import Principal
from model_serving.proxy.call import Route, decode_object, model_of, route_of
from model_serving.proxy.errors import EndpointNotFound, Overloaded, ProxyError, Unavailable
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.head import JSON, JSON_HEAD, lines
from model_serving.proxy.identity import Identity
from model_serving.proxy.pipeline import RequestIds, models_body
from model_serving.proxy.relay import InFlight, Relay, Timeouts, as_proxy_error
from model_serving.proxy.router_call import RoutedCall, RouterServices, forwarded
from model_serving.proxy.router_journal import Passing
from model_serving.proxy_config import Entry, EntryState

_SANE_HOST = re.compile(rb"[A-Za-z0-9.:\[\]_-]{1,255}").fullmatch
MAX_HELD = 512


@dataclass(frozen=True, slots=True)
class RouterBounds:
    """How much at once, how long a call may take, and how long it waits for an endpoint to start. Seconds."""

    in_flight: int
    request_seconds: float
    hold_seconds: float


class _Held:
    """Listens to the client of a call that is held."""

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget

    def client_gone(self) -> None:
        self._forget()

    def client_slow(self) -> None:
        """Nothing is sent to it yet."""

    def client_ready(self) -> None:
        """Nothing is sent to it yet."""


class RouterPipeline:
    """Serves the calls of all endpoints of a workspace."""

    def __init__(self, services: RouterServices, ids: RequestIds, bounds: RouterBounds, workspace_id: str) -> None:
        self.in_flight = InFlight()
        self.router_key = ""
        self.identity = Identity()
        self._services = services
        self._ids = ids
        self._bounds = bounds
        self._timeouts = Timeouts(bounds.request_seconds, bounds.request_seconds, bounds.request_seconds)
        self._workspace_id = workspace_id
        self._table: Mapping[str, Entry] = {}
        self._access: dict[str, Access] = {}
        self._held: dict[int, Passing] = {}
        self._now = 0.0

    def handle(self, exchange: Exchange) -> None:
        """Serves one request: answers it, now or later."""
        passing = Passing(exchange, self._ids.of(exchange.request.headers), self._services.journal.now())
        if self._answer_openly(passing):
            return
        try:
            self._receive(passing)
        except ProxyError as error:
            self._refuse(passing, error)

    def set_table(self, table: Mapping[str, Entry]) -> None:
        """Routes by `table` from now on; calls that were held go on where it says ready."""
        self._table = table
        self._access = {name: Access(entry.grants) for name, entry in table.items()}
        self._try_held()

    def sweep(self, now: float) -> None:
        """Ends what waits too long; called a few times a second."""
        self._now = now
        self.in_flight.sweep(now)
        for number, passing in list(self._held.items()):
            if passing.hold_until <= now:
                del self._held[number]
                self._refuse(passing, Unavailable(f"endpoint {passing.endpoint} is still starting", retry_after=5.0))

    def abort(self) -> None:
        """Ends everything: the process ends."""
        self.in_flight.abort()
        for passing in list(self._held.values()):  # what waits behind one of them may be held then
            self._refuse(passing, Unavailable("this server is shutting down"))
        self._held.clear()

    def _receive(self, passing: Passing) -> None:
        request = passing.exchange.request
        route = route_of(request.method, request.target)
        passing.openai = route.openai
        if len(self.in_flight) >= self._bounds.in_flight:
            raise Overloaded("this server serves as many calls as it can: try again in a second", retry_after=1.0)
        passing.principal = self.identity.of(request.headers, time.time())
        if route.models:
            self._list_models(passing, passing.principal)
            return
        passing.endpoint = _endpoint_of(route, request.body)
        self._pass_on(passing)

    def _pass_on(self, passing: Passing) -> None:
        """Sends a call to its endpoint, or holds it while that starts."""
        entry = self._table.get(passing.endpoint)
        if entry is None:
            raise EndpointNotFound(f"the serving endpoint {passing.endpoint[:128]} does not exist")
        if entry.state is EntryState.STARTING:
            self._hold(passing)
            return
        if entry.state is EntryState.NOT_READY:
            reason = entry.message or "its last start failed"
            raise Unavailable(f"endpoint {passing.endpoint} is not ready: {reason}", retry_after=5.0)
        assert passing.principal is not None
        request = forwarded(passing.exchange.request, passing.principal, self.router_key, passing.head())
        delivery = RoutedCall(self._services, passing, entry, request)
        Relay(passing.exchange, delivery, self.in_flight, self._timeouts).start()

    def _hold(self, passing: Passing) -> None:
        number = id(passing)
        if len(self._held) >= MAX_HELD:
            raise Unavailable(f"endpoint {passing.endpoint} is starting, and many calls wait for it already")
        passing.hold_until = self._now + self._bounds.hold_seconds
        passing.exchange.listener = _Held(lambda: self._forget(number))
        self._held[number] = passing

    def _forget(self, number: int) -> None:
        self._held.pop(number, None)

    def _try_held(self) -> None:
        for number, passing in list(self._held.items()):
            entry = self._table.get(passing.endpoint)
            if entry is not None and entry.state is EntryState.STARTING:
                continue
            del self._held[number]
            passing.exchange.listener = None
            try:
                self._pass_on(passing)
            except Exception as error:
                self._refuse(passing, as_proxy_error(error))

    def _list_models(self, passing: Passing, principal: Principal) -> None:
        names = sorted(name for name, access in self._access.items() if access.allows(principal))
        passing.exchange.respond(200, JSON_HEAD + passing.head(), models_body(names))

    def _answer_openly(self, passing: Passing) -> bool:
        """What needs no caller: health, and the discovery that clients do before each call."""
        exchange, request = passing.exchange, passing.exchange.request
        if request.method not in (b"GET", b"HEAD"):
            return False
        path = request.target.partition(b"?")[0]
        if path == b"/healthz":
            exchange.respond(200, b"content-type: text/plain\r\n" + passing.head(), b"ok\n")
            return True
        if path == b"/.well-known/databricks-config":
            exchange.respond(200, JSON_HEAD + passing.head(), self._discovery(request.headers))
            return True
        return False

    def _discovery(self, headers: Mapping[bytes, bytes]) -> bytes:
        host = headers.get(b"host", b"")
        scheme = "https" if headers.get(b"x-forwarded-proto", b"").lower() == b"https" else "http"
        name = host.decode() if _SANE_HOST(host) else "localhost"
        return msgspec.json.encode({"oidc_endpoint": f"{scheme}://{name}/oidc", "workspace_id": self._workspace_id})

    def _refuse(self, passing: Passing, error: ProxyError) -> None:
        passing.exchange.listener = None
        head = lines([JSON, *error.headers()]) + passing.head()
        passing.exchange.respond(error.status, head, error.body(passing.openai))
        self._services.journal.refused(passing, error)
        self._services.journal.ended(passing.endpoint if passing.endpoint in self._table else "", error.status)


def _endpoint_of(route: Route, body: bytes) -> str:
    return route.endpoint or model_of(decode_object(body))
