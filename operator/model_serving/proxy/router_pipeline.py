"""A request's way through the router: to management, or as a call: who calls, which endpoint, which of its proxies.

A call waits where that helps: for the endpoint's first start, and for the review of a caller whom no key here knows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from model_serving.proxy.access import Access
from model_serving.proxy.auth import Principal
from model_serving.proxy.call import decode_object, model_of, route_of
from model_serving.proxy.discovery import Discovery, scheme_of
from model_serving.proxy.errors import EndpointNotFound, NotServed, Overloaded, ProxyError, Unauthenticated, Unavailable
from model_serving.proxy.http.exchange import Exchange, Unwanted
from model_serving.proxy.http.head import JSON, JSON_HEAD, lines
from model_serving.proxy.http.memory import SMALL_BYTES
from model_serving.proxy.identity import Identity
from model_serving.proxy.parked import Parked, ParkingLot
from model_serving.proxy.pipeline import RequestIds, models_body
from model_serving.proxy.relay import CLIENT_GONE, InFlight, Relay, Timeouts, as_proxy_error
from model_serving.proxy.reviews import Reviews
from model_serving.proxy.router_call import RoutedCall, RouterServices, forwarded
from model_serving.proxy.router_journal import Passing
from model_serving.proxy.router_management import MAX_BODY_BYTES, ManagementCall, NoManagement, TooLarge
from model_serving.proxy_config import Entry, EntryState

MAX_HELD = 512
MAX_UNKNOWN = 512
"""Calls whose callers are being reviewed."""
MAX_SOUGHT = 64
"""Calls to endpoints that are not in the table: a new one may be on its way into it."""
REVIEW_SECONDS = 10.0
MANAGEMENT_SECONDS = 60.0
"""How long management may take: its own waits are a few seconds each, and one that hangs must not hold its callers."""
MOST_BODY_BYTES = 16 * 1024 * 1024
"""Of a call; each endpoint's proxy has its own, smaller bound."""
UNKNOWN_BODY_BYTES = 4 * 1024 * 1024
"""Of a call whose caller has to be reviewed first: what endpoints take unless their config says otherwise."""


@dataclass(frozen=True, slots=True)
class RouterBounds:
    """How much at once, how long a call may take, how long it waits for an endpoint to start, and how long for one to
    be heard of (0: the table is always up to date). Seconds."""

    in_flight: int
    request_seconds: float
    hold_seconds: float
    news_seconds: float = 0.0


class RouterPipeline:
    """Serves all that comes to a workspace."""

    def __init__(self, services: RouterServices, ids: RequestIds, bounds: RouterBounds, discovery: Discovery) -> None:
        self.in_flight = InFlight()
        self.identity = Identity()
        self.reviews: Reviews | None = None
        self.credential = b""
        """The header line that shows proxies who sends the call."""
        self.management = ""
        """HOST:PORT; empty: there is none."""
        self.tls = False
        """Whether clients speak TLS to this process."""
        self._services = services
        self._ids = ids
        self._bounds = bounds
        self._discovery = discovery
        self._timeouts = Timeouts(bounds.request_seconds, bounds.request_seconds, bounds.request_seconds)
        patience = min(MANAGEMENT_SECONDS, bounds.request_seconds)
        self._patience = Timeouts(patience, patience, patience)
        self._table: Mapping[str, Entry] | None = None
        self._access: dict[str, Access] = {}
        self._held: ParkingLot[Passing] = ParkingLot(MAX_HELD)
        self._unknown: ParkingLot[Passing] = ParkingLot(MAX_UNKNOWN)
        self._sought: ParkingLot[Passing] = ParkingLot(MAX_SOUGHT)
        self._lots = (self._held, self._unknown, self._sought)
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

    def most_body(self, method: bytes, target: bytes, headers: Mapping[bytes, bytes]) -> int:
        """The bound for the body of a request with this head, before it is read. Unwanted."""
        try:
            route_of(method, target)
            self.identity.of(headers, time.time())
        except EndpointNotFound:
            return MAX_BODY_BYTES
        except Unauthenticated as error:
            return self._most_unknown(headers, error)
        except ProxyError:
            return SMALL_BYTES  # the wrong method: no body changes that
        return MOST_BODY_BYTES

    def set_table(self, table: Mapping[str, Entry]) -> None:
        """Routes by `table` from now on; calls that were held go on where it says ready."""
        before, known = self._table or {}, self._access
        self._table = table
        self._access = {
            name: known[name] if name in before and before[name].grants == entry.grants else Access(entry.grants)
            for name, entry in table.items()
        }
        self._try_held()

    def sweep(self, now: float) -> None:
        """Ends what waits too long; called a few times a second."""
        self._now = now
        self.in_flight.sweep(now)
        for parked in self._held.overdue(now):
            late = Unavailable(f"endpoint {parked.call.endpoint} is still starting", retry_after=5.0)
            self._give_up(parked, late)
        for parked in self._unknown.overdue(now):
            self._give_up(parked, Unavailable("whose token this is was not found out in time"))
        for parked in self._sought.overdue(now):
            self._give_up(parked, _no_endpoint(parked.call.endpoint))

    def abort(self) -> None:
        """Ends everything: the process ends."""
        self.in_flight.abort()
        for lot in self._lots:
            for parked in lot:  # what waits behind one of them may be parked then
                if lot.leave(parked):
                    self._refuse(parked.call, Unavailable("this server is shutting down"))

    def _receive(self, passing: Passing) -> None:
        request = passing.exchange.request
        try:
            passing.route = route_of(request.method, request.target)
        except EndpointNotFound:
            self._require_room()
            self._manage(passing)
            return
        self._require_room()
        if self._table is None:
            raise Unavailable("this server is starting: it does not know its endpoints yet")
        try:
            passing.principal = self.identity.of(request.headers, time.time())
        except Unauthenticated as error:
            self._review(passing, error)
            return
        self._serve(passing, passing.principal)

    def _require_room(self) -> None:
        if len(self.in_flight) + sum(map(len, self._lots)) >= self._bounds.in_flight:
            raise Overloaded("this server serves as many calls as it can: try again in a second", retry_after=1.0)

    def _serve(self, passing: Passing, principal: Principal) -> None:
        """A call whose caller is known."""
        if passing.route.models:
            self._list_models(passing, principal)
            return
        passing.endpoint = passing.route.endpoint or model_of(decode_object(passing.exchange.request.body))
        self._pass_on(passing, principal)

    def _pass_on(self, passing: Passing, principal: Principal) -> None:
        """Sends a call to its endpoint, or holds it while that starts."""
        assert self._table is not None
        entry = self._table.get(passing.endpoint)
        if entry is None:
            self._seek(passing)
            return
        if entry.state is not EntryState.READY:
            # No place to wait for others, and no word to them of what is wrong: it may name Secrets.
            self._access[passing.endpoint].require_query(principal, passing.endpoint)
        if entry.state is EntryState.STARTING:
            self._hold(passing)
            return
        if entry.state is EntryState.NOT_SUPPORTED:
            raise NotServed(f"endpoint {passing.endpoint} is not supported: {entry.message}")
        if entry.state is EntryState.NOT_READY:
            reason = entry.message or "its last start failed"
            raise Unavailable(f"endpoint {passing.endpoint} is not ready: {reason}", retry_after=5.0)
        request = forwarded(passing.exchange.request, principal, self.credential, passing.head())
        delivery = RoutedCall(self._services, passing, entry, request)
        Relay(passing.exchange, delivery, self.in_flight, self._timeouts).start()

    def _manage(self, passing: Passing) -> None:
        """Sends a request that is no call to management."""
        request = passing.exchange.request
        if not self.management:
            raise NoManagement(f"no API found for '{request.method.decode()} {_shown(request.target)}'")
        if len(request.body) > MAX_BODY_BYTES:
            raise TooLarge(f"the request's body is too large: at most {MAX_BODY_BYTES} bytes")
        services, scheme = self._services, scheme_of(request.headers, self.tls)
        delivery = ManagementCall(services.management, services.journal, passing, self.management, scheme)
        Relay(passing.exchange, delivery, self.in_flight, self._patience).start()

    # Calls that wait

    def _review(self, passing: Passing, error: Unauthenticated) -> None:
        """Has it found out who calls; the call waits. Without anybody to ask it ends with `error`."""
        if self.reviews is None or b"authorization" not in passing.exchange.request.headers:
            raise error
        if self._unknown.full:
            raise Unavailable("many calls wait until it is found out who makes them: try again in a second")
        parked = Parked(passing.exchange, passing, self._now + REVIEW_SECONDS)
        authorization = passing.exchange.request.headers[b"authorization"]
        self.reviews.begin(authorization, lambda found: self._reviewed(parked, found))
        self._unknown.park(parked)

    def _reviewed(self, parked: Parked[Passing], found: Principal | ProxyError) -> None:
        if not self._unknown.leave(parked):
            return
        try:
            if isinstance(found, ProxyError):
                raise found
            parked.call.principal = found
            self._serve(parked.call, found)
        except Exception as error:
            self._refuse(parked.call, as_proxy_error(error))

    def _most_unknown(self, headers: Mapping[bytes, bytes], error: Unauthenticated) -> int:
        try:
            if self.reviews is None or b"authorization" not in headers:
                raise error
            self.reviews.check(headers[b"authorization"])
        except Unauthenticated as refusal:
            raise Unwanted(refusal.status, refusal.message) from None
        return UNKNOWN_BODY_BYTES

    def _hold(self, passing: Passing) -> None:
        if self._held.full:
            raise Unavailable(f"endpoint {passing.endpoint} is starting, and many calls wait for it already")
        self._held.park(Parked(passing.exchange, passing, self._now + self._bounds.hold_seconds))

    def _seek(self, passing: Passing) -> None:
        """Waits a moment for news of an endpoint: whoever has just created it may call before we have heard of it."""
        if self._bounds.news_seconds <= 0 or self._sought.full:
            raise _no_endpoint(passing.endpoint)
        self._sought.park(Parked(passing.exchange, passing, self._now + self._bounds.news_seconds))

    def _try_held(self) -> None:
        assert self._table is not None
        for parked in self._held:
            entry = self._table.get(parked.call.endpoint)
            if entry is None or entry.state is not EntryState.STARTING:
                self._go_on(self._held, parked)
        for parked in self._sought:
            if parked.call.endpoint in self._table:
                self._go_on(self._sought, parked)

    def _go_on(self, lot: ParkingLot[Passing], parked: Parked[Passing]) -> None:
        passing = parked.call
        if not lot.leave(parked):
            return
        try:
            assert passing.principal is not None
            self._pass_on(passing, passing.principal)
        except Exception as error:
            self._refuse(passing, as_proxy_error(error))

    def _give_up(self, parked: Parked[Passing], error: ProxyError) -> None:
        if parked.exchange.done:  # its client has left
            self._services.journal.left(parked.call)
            self._services.journal.ended(self._label(parked.call), CLIENT_GONE)
        else:
            self._refuse(parked.call, error)

    # Answers of our own

    def _list_models(self, passing: Passing, principal: Principal) -> None:
        names = sorted(name for name, access in self._access.items() if access.allows(principal))
        passing.exchange.respond(200, JSON_HEAD + passing.head(), models_body(names))
        self._services.journal.answered(passing, 200)
        self._services.journal.ended("", 200)

    def _answer_openly(self, passing: Passing) -> bool:
        """What needs no caller: health, and the discovery that clients do before each call."""
        exchange, request = passing.exchange, passing.exchange.request
        if request.method not in (b"GET", b"HEAD"):
            return False
        page = self._discovery.page(request.target, request.headers, scheme_of(request.headers, self.tls))
        if page is None:
            return False
        status, head, body = page
        exchange.respond(status, head + passing.head(), body)
        return True

    def _refuse(self, passing: Passing, error: ProxyError) -> None:
        passing.exchange.listener = None
        head = lines([JSON, *error.headers()]) + passing.head()
        passing.exchange.respond(error.status, head, error.body(passing.route.openai))
        self._services.journal.refused(passing, error)
        self._services.journal.ended(self._label(passing), error.status)

    def _label(self, passing: Passing) -> str:
        """The endpoint's name, if there is one of that name: callers must not make up labels."""
        return passing.endpoint if passing.endpoint in (self._table or ()) else ""


def _no_endpoint(name: str) -> EndpointNotFound:
    return EndpointNotFound(f"the serving endpoint {name[:128]} does not exist")


def _shown(target: bytes) -> str:
    return target.partition(b"?")[0][:200].decode("ascii", "replace")
