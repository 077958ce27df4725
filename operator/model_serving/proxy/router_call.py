"""One call through the router to a proxy: forwarded as it is, with principal and router's credential for the token."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from model_serving.proxy.auth import GROUPS, PRINCIPAL, ROUTER_KEY, Principal, encode_principal
from model_serving.proxy.call import origin_form
from model_serving.proxy.errors import ProxyError, Unavailable
from model_serving.proxy.hosts import Leave
from model_serving.proxy.http.exchange import Request
from model_serving.proxy.http.head import JSON, clean_value, lines
from model_serving.proxy.http.pool import Fetch, Origin, Pool
from model_serving.proxy.http.response import Cause, Failure, ResponseListener
from model_serving.proxy.relay import Answer
from model_serving.proxy.router import Balancer
from model_serving.proxy.router_journal import Passing, RouterJournal
from model_serving.proxy.sse import EVENT_STREAM, EventSplitter
from model_serving.proxy_config import Entry, split_address

FORWARDED = (b"content-type", b"accept", b"user-agent", b"traceparent", b"tracestate")
"""The client's headers that a proxy may see."""

NOT_RETURNED = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date", b"upgrade", b"trailer", b"te")
)
"""Headers of an answer that belong to one connection, or that the router writes itself."""


@dataclass(frozen=True, slots=True)
class RouterServices:
    """What routed calls share."""

    pool: Pool
    balancer: Balancer
    journal: RouterJournal
    management: Pool
    """Connections to management, apart from those to proxies."""


class RoutedCall:
    """The delivery of one call to one of an endpoint's proxies. Unavailable when there is none."""

    __slots__ = ("_address", "_entry", "_name", "_passing", "_request", "_services", "_splitter", "_tried")

    complete = False
    """A proxy ends its streams by itself: the end of the transfer is the end."""

    def __init__(self, services: RouterServices, passing: Passing, entry: Entry, request: bytes) -> None:
        self._services = services
        self._name = passing.endpoint
        self._entry = entry
        self._passing = passing
        self._request = request
        self._address = ""
        self._tried: tuple[str, ...] = ()
        if not self._next_address():
            raise Unavailable(f"endpoint {self._name} has no proxy that is ready: try again in a moment")

    def send(self, listener: ResponseListener) -> Fetch:
        entry = self._entry
        origin = _origin(self._address, entry.tls, entry.server_name)
        return self._services.pool.send(origin, self._request, listener)

    def again(self, failure: Failure | None, status: int) -> bool:
        """Another address, as long as nothing of the request was sent."""
        return failure is not None and not failure.sent and self._next_address()

    def stream_head(self, status: int, headers: dict[bytes, bytes]) -> bytes | None:
        if status != 200 or not headers.get(b"content-type", b"").startswith(EVENT_STREAM):
            return None
        self._splitter = EventSplitter()
        return _returned(headers)

    def feed(self, data: bytes) -> bytes:
        return self._splitter.feed(data)

    def close(self, framed: bool) -> bytes:
        if not framed:
            raise Unavailable(f"the proxy of endpoint {self._name} broke off")
        return self._splitter.close()

    def whole(self, status: int, headers: dict[bytes, bytes], body: bytes, framed: bool) -> Answer:
        if not framed:
            raise Unavailable(f"the proxy of endpoint {self._name} broke off")
        return Answer(status, _returned(headers), body)

    def broken(self, failure: Failure) -> ProxyError:
        if failure.cause is Cause.CONNECT:
            return Unavailable(f"no proxy of endpoint {self._name} can be reached: {failure.detail}")
        return Unavailable(f"the proxy of endpoint {self._name} failed: {failure.detail}")

    def refused(self, error: ProxyError) -> Answer:
        self._services.journal.refused(self._passing, error)
        head = lines([JSON, *error.headers()]) + self._passing.head()
        return Answer(error.status, head, error.body(self._passing.route.openai))

    def settled(self, status: int, first_byte: float, last_byte: float, now: float) -> None:
        self._release()
        self._services.journal.ended(self._name, status)

    def _next_address(self) -> bool:
        self._release()
        address = self._services.balancer.pick(self._entry.addresses, self._tried)
        if address is None:
            return False
        self._address = address
        self._tried += (address,)
        return True

    def _release(self) -> None:
        if self._address:
            self._services.balancer.release(self._address)
            self._address = ""


@lru_cache(maxsize=4096)
def _origin(address: str, tls: bool, server_name: str) -> Origin:
    host, port = split_address(address)
    return Origin(tls, host, port, Leave.TRUSTED.value, server_name)


def key_head(router_key: str) -> bytes:
    """The header line that shows proxies the key that they share with the router of one machine."""
    return lines([(ROUTER_KEY, clean_value(router_key))])


def token_head(token: str) -> bytes:
    """The header line that shows proxies the router's own token. ValueError when it is none."""
    return lines([(b"authorization", clean_value(f"Bearer {token}"))])


def forwarded(request: Request, principal: Principal, credential: bytes, id_head: bytes) -> bytes:
    """The request that a proxy gets; `credential` is the header line that shows who sends it."""
    target = origin_form(request.target)
    headers = request.headers
    kept = [(header, headers[header]) for header in FORWARDED if header in headers]
    head = lines([(b"host", headers.get(b"host", b"model-serving")), *kept])
    own = _named(principal) + credential + id_head
    length = b"content-length: %d\r\n\r\n" % len(request.body)
    return b"%b %b HTTP/1.1\r\n%b%b%b%b" % (request.method, target, head, own, length, request.body)


@lru_cache(maxsize=4096)
def _named(principal: Principal) -> bytes:
    """The header lines that name a caller; remembered, because the same ones come again and again."""
    name, groups = encode_principal(principal)
    return lines([(PRINCIPAL, name), (GROUPS, groups)])


def _returned(headers: dict[bytes, bytes]) -> bytes:
    return lines(header for header in headers.items() if header[0] not in NOT_RETURNED)
