"""Counters of one process, rendered for Prometheus on the admin port.

Plain numbers in dictionaries: counting costs next to nothing on the way of a call, the text is made when it is asked
for. Labels come from the config (entities, tasks) or from closed sets (statuses), never from callers, so that their
number is bounded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from model_serving.proxy.usage import Usage

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the duration buckets, in seconds."""


class Histogram:
    """Durations by bucket."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts with their bounds, as Prometheus wants them."""
        found: list[tuple[str, float]] = []
        count = 0
        for bound, here in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            count += here
            found.append((bound, count))
        return found


class Metrics:
    """What is counted; `collect` is what Prometheus' registry asks."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._limited: Counter[str] = Counter()
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._first_bytes: dict[tuple[str, str], Histogram] = {}
        self.in_flight: Callable[[], int] = lambda: 0
        self.credentials: Callable[[], list[tuple[str, str, float]]] = list
        """Secret, key and the time when it was loaded, of each credential."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def call(self, entity: str, task: str, status: int, duration: float) -> None:
        """A call has ended."""
        self._calls[entity, task, str(status)] += 1
        _histogram(self._durations, (entity, task)).observe(duration)

    def first_byte(self, entity: str, task: str, seconds: float) -> None:
        """The first byte of a stream has come."""
        _histogram(self._first_bytes, (entity, task)).observe(seconds)

    def usage(self, entity: str, usage: Usage) -> None:
        """A call's tokens."""
        self._tokens[entity, "input"] += usage.prompt_tokens
        self._tokens[entity, "output"] += usage.completion_tokens

    def status(self, status: int) -> None:
        """A call through the router has ended."""
        self._calls["", "", str(status)] += 1

    def limited(self, key: str) -> None:
        """A limit has refused a call."""
        self._limited[key] += 1

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        calls = CounterMetricFamily(
            "model_serving_calls", "Calls by outcome.", labels=("served_entity", "task", "status")
        )
        for call_labels, number in self._calls.items():
            calls.add_metric(call_labels, number)
        yield calls
        tokens = CounterMetricFamily("model_serving_tokens", "Tokens used.", labels=("served_entity", "kind"))
        for token_labels, number in self._tokens.items():
            tokens.add_metric(token_labels, number)
        yield tokens
        limited = CounterMetricFamily("model_serving_limited", "Calls refused by a rate limit.", labels=("key",))
        for key, number in self._limited.items():
            limited.add_metric((key,), number)
        yield limited
        yield _family("model_serving_call_duration_seconds", "Duration of calls.", self._durations)
        yield _family("model_serving_time_to_first_token_seconds", "Time to a stream's first byte.", self._first_bytes)
        yield GaugeMetricFamily("model_serving_in_flight", "Calls under way.", value=self.in_flight())
        loaded = GaugeMetricFamily(
            "model_serving_credential_loaded_timestamp_seconds",
            "When a credential was loaded.",
            labels=("secret", "key"),
        )
        for secret, name, when in self.credentials():
            loaded.add_metric((secret, name), when)
        yield loaded


def _histogram(found: dict[tuple[str, str], Histogram], labels: tuple[str, str]) -> Histogram:
    histogram = found.get(labels)
    if histogram is None:
        histogram = found[labels] = Histogram()
    return histogram


def _family(name: str, text: str, histograms: dict[tuple[str, str], Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=("served_entity", "task"))
    for labels, histogram in histograms.items():
        family.add_metric(labels, histogram.buckets(), histogram.total)
    return family
