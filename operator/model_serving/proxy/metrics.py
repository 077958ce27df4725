"""The metrics of one process, rendered for Prometheus on the admin port.

Plain numbers, counted on the way of a call by `minutes.py`; the text is made when it is asked for. Labels come from
the config (entities, the task, endpoints of the router's table), from files (credentials) or from closed sets
(statuses, error codes), never from callers, so that their number is bounded. `FAMILIES` is the whole list.
"""

from __future__ import annotations

import platform
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from model_serving import __version__
from model_serving.proxy.access_log import AccessLog
from model_serving.proxy.exposition import Distribution, Family, Sample, histogram, samples
from model_serving.proxy.minutes import SECONDS, TOKEN_SECONDS, Minutes, Tally
from model_serving.proxy_config import ProxyStatus, TokenReport

_SELF = Path("/proc/self")
_ENTITY = ("served_entity", "task")

CALLS = Family("model_serving_calls_total", "counter", "Calls by outcome.", (*_ENTITY, "status", "error_code"))
DURATION = Family("model_serving_call_duration_seconds", "histogram", "Duration of calls.", _ENTITY)
FIRST_TOKEN = Family(
    "model_serving_time_to_first_token_seconds", "histogram", "From a call's start to its stream's first byte.", _ENTITY
)
TOKEN_GAP = Family(
    "model_serving_time_per_output_token_seconds",
    "histogram",
    "Of a stream: from its first byte to its last, divided by the tokens after the first one; by pieces where the "
    "provider counts no tokens.",
    _ENTITY,
)
TOKENS = Family("model_serving_tokens_total", "counter", "Tokens as providers counted them.", ("served_entity", "kind"))
CACHED = Family(
    "model_serving_cached_input_tokens_total",
    "counter",
    "Input tokens that the provider had cached; part of the input.",
    ("served_entity",),
)
REASONING = Family(
    "model_serving_reasoning_output_tokens_total",
    "counter",
    "Output tokens spent on reasoning; part of the output.",
    ("served_entity",),
)
ROUTED = Family("model_serving_routed_calls_total", "counter", "Calls through the router.", ("endpoint", "status"))
MANAGED = Family(
    "model_serving_management_requests_total", "counter", "Requests that the router passed to management.", ("status",)
)
LIMITED = Family("model_serving_limited_total", "counter", "Calls refused by a rate limit.", ("key",))
REFUSED = Family(
    "model_serving_refused_requests_total",
    "counter",
    "Requests that never became a call: not proper HTTP, too large, too slow, one connection too many.",
    ("status",),
)
IN_FLIGHT = Family("model_serving_in_flight", "gauge", "Calls under way.")
CONNECTIONS = Family("model_serving_connections", "gauge", "Open connections of clients.", ("port",))
READY = Family("model_serving_ready", "gauge", "1 while calls should come here.")
LOADED = Family(
    "model_serving_credential_loaded_timestamp_seconds", "gauge", "When a credential was loaded.", ("secret", "key")
)
TOKEN_EXPIRES = Family(
    "model_serving_credential_token_expires_timestamp_seconds",
    "gauge",
    "When a fetched token expires; it is renewed long before.",
    ("token",),
)
TOKEN_FETCHES = Family(
    "model_serving_credential_token_fetches_total", "counter", "Attempts to fetch a token from a cloud.", ("token",)
)
TOKEN_FAILURES = Family(
    "model_serving_credential_token_failures_total", "counter", "Those of them that brought no token.", ("token",)
)
CONFIG = Family(
    "model_serving_config_info",
    "gauge",
    "What is served.",
    ("endpoint", "revision", "config_version", "policy_version"),
)
LOG_LINES = Family("model_serving_access_log_lines_total", "counter", "Lines of the access log.")
LOG_DROPPED = Family(
    "model_serving_access_log_dropped_total", "counter", "Lines that nobody took in time: they are lost."
)
BUILD = Family("model_serving_build_info", "gauge", "What runs.", ("version", "python"))
CPU = Family("process_cpu_seconds_total", "counter", "CPU time of the process.")
MEMORY = Family("process_resident_memory_bytes", "gauge", "Memory of the process.")
FILES = Family("process_open_fds", "gauge", "Open files of the process.")
STARTED = Family("process_start_time_seconds", "gauge", "When the process began.")

FAMILIES = (
    CALLS, DURATION, FIRST_TOKEN, TOKEN_GAP, TOKENS, CACHED, REASONING, ROUTED, MANAGED, LIMITED, REFUSED,
    IN_FLIGHT, CONNECTIONS, READY, LOADED, TOKEN_EXPIRES, TOKEN_FETCHES, TOKEN_FAILURES, CONFIG,
    LOG_LINES, LOG_DROPPED, BUILD, CPU, MEMORY, FILES, STARTED,
)  # fmt: skip


class Metrics:
    """What is counted, and whom to ask for what changes by itself."""

    def __init__(self) -> None:
        self.minutes = Minutes()
        self.task = ""
        """Of the endpoint; set by whoever reads the config."""
        self.in_flight: Callable[[], int] = lambda: 0
        self.connections: Callable[[], Sequence[tuple[str, int]]] = tuple
        """Open connections by port."""
        self.state: Callable[[], ProxyStatus | None] = lambda: None
        self.credentials: Callable[[], list[tuple[str, str, float]]] = list
        """Secret, key and the time when it was loaded, of each credential."""
        self.fetched: Callable[[], list[TokenReport]] = list
        """How each token stands."""
        self.log: AccessLog | None = None
        self.more: list[Callable[[], str]] = []
        """Further families, rendered (see `exposition`), of parts that keep their own numbers."""
        self._limited: Counter[str] = Counter()
        self._refused: Counter[int] = Counter()
        self._routed: Counter[tuple[str, int]] = Counter()
        self._managed: Counter[int] = Counter()
        self._started = time.time()

    def limited(self, key: str) -> None:
        """A limit has refused a call."""
        self._limited[key] += 1

    def refused(self, status: int) -> None:
        """The HTTP server has refused a request by itself."""
        self._refused[status] += 1

    def routed(self, endpoint: str, status: int) -> None:
        """A call through the router has ended; `endpoint` is empty unless the router's table has it."""
        self._routed[endpoint, status] += 1

    def managed(self, status: int) -> None:
        """A request that the router passed to management has ended."""
        self._managed[status] += 1

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        totals = self.minutes.totals()
        parts = [*self._calls(totals), *self._tokens(totals), *self._counters(), *self._standing(), *self._process()]
        parts += [render() for render in self.more]
        return "".join(parts).encode()

    def _calls(self, totals: dict[str, Tally]) -> Iterator[str]:
        task = self.task
        outcomes: list[Sample] = []
        durations: list[Distribution] = []
        firsts: list[Distribution] = []
        gaps: list[Distribution] = []
        for entity, tally in totals.items():
            labels = (entity, task)
            if tally.ok:
                outcomes.append(((*labels, "200", ""), tally.ok))
            outcomes += [((*labels, str(status), code), n) for (status, code), n in tally.failed.items()]
            durations.append((labels, SECONDS, tally.durations, tally.seconds))
            if any(tally.firsts):
                firsts.append((labels, SECONDS, tally.firsts, tally.first_seconds))
                gaps.append((labels, TOKEN_SECONDS, tally.gaps, tally.gap_seconds))
        yield samples(CALLS, outcomes)
        yield histogram(DURATION, durations)
        yield histogram(FIRST_TOKEN, firsts)
        yield histogram(TOKEN_GAP, gaps)

    def _tokens(self, totals: dict[str, Tally]) -> Iterator[str]:
        entities = {entity: tally for entity, tally in totals.items() if entity}
        used: list[Sample] = [((entity, "input"), tally.input) for entity, tally in entities.items()]
        used += [((entity, "output"), tally.output) for entity, tally in entities.items()]
        yield samples(TOKENS, used)
        yield samples(CACHED, [((entity,), tally.cached) for entity, tally in entities.items()])
        yield samples(REASONING, [((entity,), tally.reasoning) for entity, tally in entities.items()])

    def _counters(self) -> Iterator[str]:
        yield samples(ROUTED, [((endpoint, str(status)), n) for (endpoint, status), n in self._routed.items()])
        yield samples(MANAGED, [((str(status),), number) for status, number in self._managed.items()])
        yield samples(LIMITED, [((key,), number) for key, number in self._limited.items()])
        yield samples(REFUSED, [((str(status),), number) for status, number in self._refused.items()])
        if self.log is not None:
            yield samples(LOG_LINES, [((), self.log.lines)])
            yield samples(LOG_DROPPED, [((), self.log.dropped)])

    def _standing(self) -> Iterator[str]:
        yield samples(IN_FLIGHT, [((), self.in_flight())])
        yield samples(CONNECTIONS, [((port,), number) for port, number in self.connections()])
        yield samples(LOADED, [((secret, key), when) for secret, key, when in self.credentials()])
        yield from self._fetched_tokens()
        status = self.state()
        if status is None:
            return
        yield samples(READY, [((), int(status.ready))])
        if status.endpoint:
            served = (status.endpoint, status.revision, str(status.config_version), status.policy_version)
            yield samples(CONFIG, [(served, 1)])

    def _fetched_tokens(self) -> Iterator[str]:
        tokens = self.fetched()
        expiring = [token for token in tokens if token.expires_at]
        times: list[Sample] = [((t.name,), datetime.fromisoformat(t.expires_at).timestamp()) for t in expiring]
        yield samples(TOKEN_EXPIRES, times)
        yield samples(TOKEN_FETCHES, [((token.name,), token.fetches) for token in tokens])
        yield samples(TOKEN_FAILURES, [((token.name,), token.failures) for token in tokens])

    def _process(self) -> Iterator[str]:
        yield samples(BUILD, [((__version__, platform.python_version()), 1)])
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield samples(CPU, [((), used.ru_utime + used.ru_stime)])
        yield samples(STARTED, [((), self._started)])
        try:
            pages = int((_SELF / "statm").read_bytes().split()[1])
            yield samples(MEMORY, [((), pages * resource.getpagesize())])
            yield samples(FILES, [((), sum(1 for _ in (_SELF / "fd").iterdir()))])
        except OSError:
            return  # not Linux
