"""What the router keeps of calls: a count by endpoint, and a line for each call that it answered by itself.

A call that reached a proxy has its line there, with tokens; one that reached none has it here. So each call is one
line, whichever logs are read together.
"""

from __future__ import annotations

from collections.abc import Callable

from model_serving.proxy.access_log import AccessLog
from model_serving.proxy.auth import Principal
from model_serving.proxy.course import NO_ROUTE
from model_serving.proxy.errors import ProxyError, code_of
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.relay import CLIENT_GONE
from model_serving.proxy.settings import ProcessSettings
from model_serving.proxy.stamps import Stamps
from model_serving.usage_record import NAME_LENGTH, RequestRecord, UsageRecord

ROUTER = "router"


class Passing:
    """A call on its way through the router, and what is known of it. Times are the loop's clock, in seconds."""

    __slots__ = ("began", "endpoint", "exchange", "id", "principal", "route")

    def __init__(self, exchange: Exchange, call_id: bytes, began: float) -> None:
        self.exchange = exchange
        self.id = call_id
        self.began = began
        self.route = NO_ROUTE
        self.principal: Principal | None = None
        self.endpoint = ""
        """The name that was asked for."""

    def head(self) -> bytes:
        """The header line of its id, on every answer to it and on the request that a proxy gets."""
        return b"x-request-id: %b\r\n" % self.id


class RouterJournal:
    """Tells metrics and log. `log` is None where it is switched off."""

    def __init__(self, metrics: Metrics, log: AccessLog | None, now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._log = log
        self._stamps = Stamps()
        self.now = now
        """The loop's clock."""

    def ended(self, endpoint: str, status: int) -> None:
        """A call has ended; `endpoint` is empty unless the table has it: callers must not make up labels."""
        self._metrics.routed(endpoint, status)

    def managed(self, passing: Passing, status: int) -> None:
        """A request to management has ended."""
        self._metrics.managed(status)
        if self._log is None:
            return
        now, request = self.now(), passing.exchange.request
        self._log.write(
            RequestRecord(
                ts=self._stamps.of(now),
                id=passing.id.decode("latin-1"),
                status=status,
                ms=int((now - passing.began) * 1e6) / 1000,
                method=request.method.decode("latin-1"),
                path=request.target.partition(b"?")[0][:NAME_LENGTH].decode("latin-1"),
                bytes_in=len(request.body),
                user_agent=request.headers.get(b"user-agent", b"")[:NAME_LENGTH].decode("latin-1"),
            )
        )

    def refused(self, passing: Passing, error: ProxyError) -> None:
        """The router answers a call with an error of its own."""
        self.answered(passing, error.status, error.error_code)

    def left(self, passing: Passing) -> None:
        """The client of a call has left before the call was sent on."""
        self.answered(passing, CLIENT_GONE, code_of(CLIENT_GONE))

    def answered(self, passing: Passing, status: int, error_code: str = "") -> None:
        """The router answers a call by itself."""
        if self._log is None:
            return
        now, request = self.now(), passing.exchange.request
        self._log.write(
            UsageRecord(
                ts=self._stamps.of(now),
                id=passing.id.decode("latin-1"),
                status=status,
                ms=int((now - passing.began) * 1e6) / 1000,
                endpoint=passing.endpoint[:NAME_LENGTH],
                principal=passing.principal.name[:NAME_LENGTH] if passing.principal is not None else "",
                error_code=error_code,
                bytes_in=len(request.body),
                user_agent=request.headers.get(b"user-agent", b"")[:NAME_LENGTH].decode("latin-1"),
                process=ROUTER,
            )
        )

    def tick(self, now: float, wall: float) -> None:
        """A quarter of a second has passed."""
        self._stamps.tick(now, wall)
        if self._log is not None:
            self._log.flush()

    def close(self) -> None:
        """The process ends."""
        if self._log is not None:
            self._log.close()


def open_router_journal(metrics: Metrics, settings: ProcessSettings, now: Callable[[], float]) -> RouterJournal:
    """The journal of a router, with what its settings switch on."""
    fd = settings.access_log_fd
    metrics.log = AccessLog(fd) if fd is not None else None
    return RouterJournal(metrics, metrics.log, now)
