"""The operator as a whole: stands by for the Lease, fills its cache, works, and gives the Lease back.

Called by the command `model-serving operator`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

import kopf
from prometheus_client.core import Metric

from model_serving.controller import metrics as metric
from model_serving.controller.cache import Cache, Key
from model_serving.controller.children import Children
from model_serving.controller.events import Recorder
from model_serving.controller.evidence import Observer
from model_serving.controller.handlers import build_registry
from model_serving.controller.health import HealthServer
from model_serving.controller.history import Histories
from model_serving.controller.intake import Intake
from model_serving.controller.lease import Lease
from model_serving.controller.logs import configure_logs
from model_serving.controller.metrics import Metrics
from model_serving.controller.own_image import with_image
from model_serving.controller.proxy_reader import ProxyReader
from model_serving.controller.queue import Queue
from model_serving.controller.reconciler import Reconciler
from model_serving.controller.settings import Settings, SettingsError
from model_serving.controller.sweep import Sweeper
from model_serving.controller.tools import Tools
from model_serving.controller.watches import build_watches, fill, watched_by_kopf, watched_by_us
from model_serving.kube.client import Client
from model_serving.kube.config import ConfigError, Connection, connect
from model_serving.kube.issuers.renewal import Issuers

log = logging.getLogger(__name__)

_LONGEST_STOP = 20.0
_PATIENCE_FOR_ISSUERS = 5.0
"""How long the first look at endpoints waits for the keys of issuers, in seconds."""


def run_operator(settings: Settings, environ: Mapping[str, str] | None = None) -> int:
    """Runs until stopped. 0: stopped by a signal, 1: lost the Lease or broke down, 2: no cluster to work on."""
    configure_logs(settings)
    try:
        connection = connect(os.environ if environ is None else environ)
    except ConfigError as problem:
        log.error("cannot start: %s", problem)
        return 2
    return asyncio.run(serve(settings, connection))


async def serve(settings: Settings, connection: Connection, stop: asyncio.Event | None = None) -> int:
    """The same, in a running loop; `stop` ends it like a signal."""
    stop = stop or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread of a process may have signals handled; elsewhere `stop` alone ends it.
        with suppress(ValueError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Client(connection) as client, ProxyReader() as reader:
        try:
            settings = await with_image(settings, client)
        except SettingsError as problem:
            log.error("cannot start: %s", problem)
            return 2
        operator = Operator(settings, client, reader)
        async with HealthServer(
            port=settings.health_port, live=operator.live, ready=operator.ready, metrics=operator.metrics
        ):
            return await operator.run(stop)


class Operator:
    """One life of the operator."""

    def __init__(self, settings: Settings, client: Client, reader: ProxyReader) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._client = client
        self._cache = Cache()
        self._queue: Queue[Key] = Queue()
        self._intake = Intake(self._cache, self._queue)
        self._watches = build_watches(client, self._intake, settings)
        selections = watched_by_kopf(settings) + watched_by_us(settings)
        self._sweeper = Sweeper(client, self._cache, self._queue, selections, seconds=settings.full_pass_seconds)
        self._children = Children(client, self._cache)
        self._issuers = Issuers(
            client, settings.issuers, seconds=settings.issuers_renew_seconds, changed=self._look_at_all
        )
        self._reconciler = Reconciler(self._tools(reader))
        self._lease = Lease(
            client, namespace=settings.operator_namespace, identity=settings.identity, seconds=settings.lease_seconds
        )
        self._leading = False
        self._work: list[asyncio.Task[None]] = []
        self.metrics.look_up(self._look_up)

    def live(self) -> str:
        """What is stuck, if anything. One failing endpoint is nobody's illness but its own."""
        if not self._leading:
            return ""
        limit = self._settings.stuck_after_seconds
        if self._queue.oldest_age > limit:
            return f"the queue's head has waited for more than {limit} s"
        if self._queue.longest_work > limit:
            return f"one endpoint has been worked on for more than {limit} s"
        return ""

    def ready(self) -> str:
        """What is missing, if anything. Standing by is being ready."""
        if self._leading and not self._cache.filled.is_set():
            return "the cache is not filled yet"
        return ""

    async def run(self, stop: asyncio.Event) -> int:
        """Until stopped, or until the Lease is lost."""
        acquired = asyncio.create_task(self._lease.acquire(), name="acquire the Lease")
        stopped = asyncio.create_task(stop.wait(), name="wait for the end")
        await asyncio.wait({acquired, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not acquired.done():
            await _cancel([acquired, stopped])
            return 0
        self._leading = True
        try:
            return await self._lead(stop, stopped)
        finally:
            await _cancel([*self._work, stopped])
            await self._lease.release()

    async def _lead(self, stop: asyncio.Event, stopped: asyncio.Task[bool]) -> int:
        hold = asyncio.create_task(self._lease.hold(), name="hold the Lease")
        self._work = [asyncio.create_task(watch.run(), name=f"watch {watch.selection}") for watch in self._watches]
        filled = asyncio.create_task(
            fill(self._client, self._cache, self._intake, self._settings, self._watches), name="fill the cache"
        )
        self._work += [hold, filled, asyncio.create_task(self._issuers.run(), name="renew the keys of issuers")]
        await asyncio.wait({hold, filled, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not filled.done():
            return 0 if stop.is_set() else 1
        await self._issuers.wait_for_first(_PATIENCE_FOR_ISSUERS)
        workers = asyncio.create_task(self._queue.run(self._reconcile, self._settings.workers), name="work")
        self._work += [
            workers,
            asyncio.create_task(self._sweeper.run(), name="sweep"),
        ]
        framework = asyncio.create_task(self._run_kopf(stop), name="kopf")
        done, _ = await asyncio.wait({hold, workers, framework}, return_when=asyncio.FIRST_COMPLETED)
        return await self._end(done, framework, stop)

    async def _end(self, done: set[asyncio.Task[None]], framework: asyncio.Task[None], stop: asyncio.Event) -> int:
        # Without the Lease not one more write may go out: workers stop before anything else.
        await self._stop_work()
        stop.set()
        await asyncio.wait({framework}, timeout=_LONGEST_STOP)
        failures = [task for task in done if not task.cancelled() and task.exception() is not None]
        for task in failures:
            log.error("the operator ends because of: %s: %r", task.get_name(), task.exception())
        # Work that was called off is how a stop looks; work that ended by itself lost the Lease or broke down.
        ended = [task for task in done if task is not framework and not task.cancelled()]
        return 1 if failures or ended else 0

    async def _run_kopf(self, stop: asyncio.Event) -> None:
        settings = self._settings
        await kopf.operator(
            registry=build_registry(self._intake, self._client.connection, self._client.counts, self._hand_back),
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            standalone=True,
            # Kopf would look for the user's name, which an arbitrary user id in a container does not have.
            identity=settings.identity,  # type: ignore[arg-type]  # (a private kind of text)
            stop_flag=stop,
        )

    async def _hand_back(self) -> None:
        """Kopf is stopping: no more writes, and whoever stands by may go on at once."""
        await self._stop_work()
        await self._lease.release()

    async def _stop_work(self) -> None:
        await _cancel(self._work)

    def _look_at_all(self) -> None:
        for key, _ in self._cache.endpoints():
            self._queue.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        began, result = time.monotonic(), "failed"
        try:
            again = await self._reconciler.reconcile(key)
            result = "done"
            return again
        finally:
            self.metrics.observe_reconcile(result, time.monotonic() - began)

    def _tools(self, reader: ProxyReader) -> Tools:
        client, cache = self._client, self._cache
        return Tools(
            settings=self._settings,
            client=client,
            cache=cache,
            queue=self._queue,
            sweeper=self._sweeper,
            children=self._children,
            histories=Histories(client, cache),
            observer=Observer(client, reader),
            issuers=self._issuers,
            recorder=Recorder(client, self.metrics, identity=self._settings.identity),
            metrics=self.metrics,
        )

    def _look_up(self) -> Iterable[Metric]:
        yield metric.gauge("leader", "Whether this one works (1) or stands by (0).", float(self._leading))
        yield metric.gauge("queue_depth", "Endpoints that wait for a look.", self._queue.depth)
        yield metric.gauge("queue_oldest_seconds", "How long the oldest has waited.", self._queue.oldest_age)
        restarts = sum(watch.restarts for watch in self._watches)
        yield metric.counter("watch_restarts", "Streams of our own watches after the first.", restarts)
        yield metric.counter("child_writes", "Children written or deleted.", self._children.writes)
        yield metric.gauges("issuer_keys", "Keys of issuers that proxies accept.", "issuer", self._issuers.key_counts())
        failing = {name: int(name in self._issuers.problems) for name in self._issuers.key_counts()}
        yield metric.gauges("issuer_failing", "Whether the last reading of an issuer's keys failed.", "issuer", failing)
        yield metric.counter("issuer_failures", "Readings of issuers' keys that failed.", self._issuers.failures)
        yield metric.gauges("cached_objects", "Objects remembered.", "kind", self._cache.counts())
        yield metric.requests(self._client.counts)
        yield metric.endpoints_by_condition(manifest for _, manifest in self._cache.endpoints())


async def _cancel(tasks: Iterable[asyncio.Task[object]]) -> None:
    mine = [task for task in tasks if task is not asyncio.current_task()]
    for task in mine:
        task.cancel()
    await asyncio.gather(*mine, return_exceptions=True)
