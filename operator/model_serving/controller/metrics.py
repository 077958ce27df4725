"""The operator's own metrics, in Prometheus' words. Filled by `operator.py` and the reconciler, read by `health.py`."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model_serving import __version__
from model_serving.kube.resources import Manifest
from model_serving.kube.session import RequestCounts

_PREFIX = "model_serving_operator"
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15, 60)


class Metrics:
    """What is counted as it happens; `render` adds what is looked up when somebody asks."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reconciles = Counter(
            f"{_PREFIX}_reconciles", "Looks at an endpoint, by result.", ["result"], registry=self._registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}_reconcile_duration_seconds", "How long a look takes.", buckets=_BUCKETS, registry=self._registry
        )
        self._status_writes = Counter(f"{_PREFIX}_status_writes", "Statuses written.", registry=self._registry)
        self._events = Counter(f"{_PREFIX}_events", "Events written.", registry=self._registry)
        Info("model_serving_build", "What runs.", registry=self._registry).info({"version": __version__})

    def observe_reconcile(self, result: str, seconds: float) -> None:
        """One look at an endpoint: `done` or `failed`."""
        self._reconciles.labels(result).inc()
        self._seconds.observe(seconds)

    def status_write(self) -> None:
        """One status was written."""
        self._status_writes.inc()

    def event(self) -> None:
        """One event was written."""
        self._events.inc()

    def look_up(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Adds metrics that are computed when somebody asks."""
        self._registry.register(_LookedUp(collect))

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)


class _LookedUp(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return ()  # Otherwise the registry would ask for values before there are any.


def gauge(name: str, text: str, value: float) -> Metric:
    """One number."""
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """One number that only grows."""
    return CounterMetricFamily(f"{_PREFIX}_{name}", text, value=value)


def gauges(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    """One number per value of a label."""
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def requests(counts: RequestCounts) -> Metric:
    """Requests to the API server, Kopf's included."""
    family = CounterMetricFamily(f"{_PREFIX}_api_requests", "Requests to the API server.", labels=["verb", "code"])
    for (verb, code), count in sorted(counts.items()):
        family.add_metric([verb, code], count)
    return family


def endpoints_by_condition(endpoints: Iterable[Manifest]) -> Metric:
    """How many endpoints are in which condition."""
    tally: Tally[tuple[str, str]] = Tally()
    for endpoint in endpoints:
        conditions = (endpoint.get("status") or {}).get("conditions") or []
        known = {c.get("type"): c.get("status", "Unknown") for c in conditions}
        for kind in ("Ready", "Stalled"):
            tally[kind, known.get(kind, "Unknown" if kind == "Ready" else "False")] += 1
    family = GaugeMetricFamily(f"{_PREFIX}_endpoints", "Endpoints by condition.", labels=["condition", "status"])
    for key, count in sorted(tally.items()):
        family.add_metric(list(key), count)
    return family
