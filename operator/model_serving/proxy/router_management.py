"""A request that is no call: it goes to management as it is, the caller's token included. Driven by a `Relay`.

Management is no proxy: it reads and writes with the caller's own rights, so it must see who that is.
"""

from __future__ import annotations

from functools import lru_cache

from model_serving.proxy.call import origin_form
from model_serving.proxy.errors import ProxyError, Unavailable
from model_serving.proxy.hosts import Leave
from model_serving.proxy.http.exchange import Request
from model_serving.proxy.http.head import JSON, lines
from model_serving.proxy.http.pool import Fetch, Origin, Pool
from model_serving.proxy.http.response import Cause, Failure, ResponseListener
from model_serving.proxy.relay import Answer
from model_serving.proxy.router_call import NOT_RETURNED
from model_serving.proxy.router_journal import Passing, RouterJournal
from model_serving.proxy_config import split_address

MAX_BODY_BYTES = 1024 * 1024

_OURS = b"x-model-serving-"
"""Headers that begin so tell proxies of a caller: a client's own mean nothing and go nowhere."""
_NOT_SENT = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"expect", b"content-length",
     b"host", b"x-request-id", b"x-forwarded-proto")
)  # fmt: skip
"""Headers that belong to one connection, or that the router writes itself."""


class NoManagement(ProxyError):
    """A path of the REST API, and nobody who serves it."""

    status = 404
    error_code = "RESOURCE_DOES_NOT_EXIST"


class TooLarge(ProxyError):
    """A body that no request to management needs."""

    status = 413
    error_code = "INVALID_PARAMETER_VALUE"


class ManagementCall:
    """The delivery of one request to management at `address`, HOST:PORT."""

    __slots__ = ("_address", "_journal", "_passing", "_pool", "_request")

    complete = False

    def __init__(self, pool: Pool, journal: RouterJournal, passing: Passing, address: str, scheme: bytes) -> None:
        self._pool = pool
        self._journal = journal
        self._passing = passing
        self._address = address
        self._request = managed(passing.exchange.request, scheme, passing.head())

    def send(self, listener: ResponseListener) -> Fetch:
        return self._pool.send(_origin(self._address), self._request, listener)

    def again(self, failure: Failure | None, status: int) -> bool:
        return False

    def stream_head(self, status: int, headers: dict[bytes, bytes]) -> bytes | None:
        return None

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self, framed: bool) -> bytes:
        return b""

    def whole(self, status: int, headers: dict[bytes, bytes], body: bytes, framed: bool) -> Answer:
        if not framed:
            raise Unavailable("management broke off its answer")
        head = lines(header for header in headers.items() if header[0] not in NOT_RETURNED)
        return Answer(status, head if b"x-request-id" in headers else head + self._passing.head(), body)

    def broken(self, failure: Failure) -> ProxyError:
        what = "cannot be reached" if failure.cause is Cause.CONNECT else "failed"
        return Unavailable(f"management {what}: {failure.detail}; calls to endpoints are served all the same", 2.0)

    def refused(self, error: ProxyError) -> Answer:
        return Answer(error.status, lines([JSON, *error.headers()]) + self._passing.head(), error.body(openai=False))

    def settled(self, status: int, first_byte: float, last_byte: float, now: float) -> None:
        self._journal.managed(self._passing, status)


def managed(request: Request, scheme: bytes, id_head: bytes) -> bytes:
    """The request that management gets. HEAD becomes GET: the answer's body ends here."""
    headers = request.headers
    named = headers.get(b"connection", b"").lower().split(b",")
    dropped = _NOT_SENT.union(name.strip() for name in named)
    kept = [(name, value) for name, value in headers.items() if name not in dropped and not _is_ours(name)]
    own = [(b"host", headers.get(b"host", b"model-serving")), (b"x-forwarded-proto", scheme)]
    method = b"GET" if request.method == b"HEAD" else request.method
    head = lines([*own, *kept]) + id_head
    length = b"content-length: %d\r\n\r\n" % len(request.body)
    return b"%b %b HTTP/1.1\r\n%b%b%b" % (method, origin_form(request.target), head, length, request.body)


def _is_ours(name: bytes) -> bool:
    return name.replace(b"_", b"-").startswith(_OURS)


@lru_cache(maxsize=16)
def _origin(address: str) -> Origin:
    host, port = split_address(address)
    return Origin(False, host, port, Leave.TRUSTED.value)
