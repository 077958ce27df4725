"""The admin port: liveness, readiness, status, metrics, usage. For platforms and Prometheus, not for callers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from model_serving.proxy.exposition import CONTENT_TYPE
from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.head import lines
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.minutes import SECONDS, Minute
from model_serving.proxy_config import ProxyStatus

_TEXT = b"text/plain; charset=utf-8"
_JSON = b"application/json"


class UsagePage(msgspec.Struct, frozen=True):
    """What `/usage` answers: the last sixty minutes that had calls, oldest first, by served entity."""

    bounds: tuple[float, ...]
    """Upper bounds, in seconds, of the buckets in `durations`; one more bucket is without bound."""
    minutes: list[Minute]


class Admin:
    """The handler of the admin port's server."""

    def __init__(self, status: Callable[[], ProxyStatus], metrics: Metrics) -> None:
        self._status = status
        self._metrics = metrics
        self._pages: dict[bytes, Callable[[], tuple[int, bytes, bytes]]] = {
            b"/livez": self._livez,
            b"/readyz": self._readyz,
            b"/status": self._status_page,
            b"/metrics": self._metrics_page,
            b"/usage": self._usage_page,
        }

    def handle(self, exchange: Exchange) -> None:
        """Answers one request."""
        request = exchange.request
        page = self._pages.get(request.target.partition(b"?")[0])
        if page is None:
            status, kind, body = 404, _TEXT, b"not found: " + b" ".join(self._pages) + b"\n"
        elif request.method not in (b"GET", b"HEAD"):
            status, kind, body = 405, _TEXT, b"this port is for reading\n"
        else:
            status, kind, body = page()
        allow = [(b"allow", b"GET, HEAD")] if status == 405 else []
        exchange.respond(status, lines([(b"content-type", kind), *allow]), body)

    def _livez(self) -> tuple[int, bytes, bytes]:
        return 200, _TEXT, b"alive\n"

    def _readyz(self) -> tuple[int, bytes, bytes]:
        status = self._status()
        if status.ready:
            return 200, _TEXT, b"ready\n"
        reasons = [*(["draining"] if status.draining else []), *status.problems] or ["starting"]
        return 503, _TEXT, "\n".join(["not ready", *reasons, ""]).encode()

    def _status_page(self) -> tuple[int, bytes, bytes]:
        return 200, _JSON, msgspec.json.encode(self._status())

    def _metrics_page(self) -> tuple[int, bytes, bytes]:
        return 200, CONTENT_TYPE, self._metrics.render()

    def _usage_page(self) -> tuple[int, bytes, bytes]:
        return 200, _JSON, msgspec.json.encode(UsagePage(SECONDS, list(self._metrics.minutes.shown())))
