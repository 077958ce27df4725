"""The proxy process: all parts put together. Started by `cli.py` through `run_proxy`."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import replace

import msgspec

from model_serving.proxy.admin import Admin
from model_serving.proxy.control import Message
from model_serving.proxy.credentials.fetch import TokenFetcher
from model_serving.proxy.hosts import Leave, refusal
from model_serving.proxy.http.pool import Origin, Pool
from model_serving.proxy.http.server import Server, ServerLimits
from model_serving.proxy.journal import open_journal
from model_serving.proxy.limits_store import LimitsKeeper
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.pipeline import Bounds, Pipeline, RequestIds
from model_serving.proxy.process import Process, run_process
from model_serving.proxy.refusals import counting, refusal_body
from model_serving.proxy.settings import ProxySettings
from model_serving.proxy.state import State
from model_serving.proxy.upstream import Services
from model_serving.proxy_config import Layout, ProxyStatus

LOOK_SECONDS = 1.0
"""How often files are looked at."""


def run_proxy(settings: ProxySettings) -> int:
    """Runs a proxy until it is told to end; returns the exit code."""
    return run_process(_main(settings))


async def _main(settings: ProxySettings) -> int:
    return await Process(ProxyService(settings), settings.process).run()


class ProxyService:
    """The parts of a proxy and what time and parent do to them."""

    def __init__(self, settings: ProxySettings) -> None:
        loop = asyncio.get_running_loop()
        process = settings.process
        layout = Layout(settings.root)
        upstream = settings.upstream
        self.state = State(layout, settings.tls_secret, process.workers, upstream.ca_file)
        self.state.credentials.platform = settings.platform
        metrics = self._metrics = Metrics()
        self._journal = open_journal(metrics, process)
        denied = settings.denied_addresses

        def rule(origin: Origin, address: str) -> str:
            return refusal(address, Leave(origin.realm), denied)

        self._pool = Pool(loop, rule, replace(upstream, tls=upstream.tls or self.state.trust))
        self.state.credentials.exchange = TokenFetcher(loop, self._pool, lambda: self.state.leave)
        services = Services(self._pool, self.state.credentials, metrics, self._journal, loop.time, time.time)
        ids = RequestIds(secrets.token_hex(6))
        self.pipeline = Pipeline(
            self.state,
            services,
            ids,
            bounds=Bounds(process.max_in_flight, settings.stream_idle_seconds, settings.first_byte_seconds),
            lot=random.random,
        )
        self._limits = LimitsKeeper(self.pipeline.limiter, layout.limits_store, loop.time)
        metrics.more.append(self._limits.render)
        metrics.state = self.status
        metrics.connections = lambda: (("data", len(self.data.connections)), ("admin", len(self.admin.connections)))
        metrics.in_flight = lambda: len(self.pipeline.in_flight)
        metrics.credentials = lambda: [
            (credential.file.secret, credential.file.key, credential.loaded_at)
            for credential in self.state.credentials.files()
        ]
        metrics.fetched = self.state.credentials.tokens
        counted = counting(metrics.refused)
        limits = ServerLimits(connections=process.max_connections, buffered_bytes=process.max_buffered_bytes)
        self.data = Server(self.pipeline.handle, counted, limits)
        self.data.identify = ids.head
        self.pipeline.in_flight.memory = self.data.memory
        self.data.tls = self.state.tls.context if self.state.tls is not None else None
        self.admin = Server(Admin(self.status, metrics).handle, refusal_body, ServerLimits(connections=256))
        self._next_look = 0.0

    def status(self) -> ProxyStatus:
        """How the proxy stands."""
        status = self.state.status(len(self.pipeline.in_flight))
        return msgspec.structs.replace(status, limits_problem=self._limits.problem)

    def listening(self) -> None:
        """Both ports are open."""
        self.state.listening = True

    def message(self, message: Message) -> None:
        """The parent hands over the key that it shares with the router."""
        if message.router_key is not None:
            self.state.trust_router(message.router_key)

    def tick(self, now: float, wall: float) -> None:
        """Deadlines, and once a second the files."""
        self._journal.tick(now, wall)
        self.data.sweep(now, wall)
        self.admin.sweep(now, wall)
        self.pipeline.sweep(now)
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        self._pool.sweep(now)
        self.pipeline.limiter.sweep(now)
        self.state.refresh(now, wall)
        if self.state.runtime is not None:
            self._limits.follow(self.state.runtime.limits_store, self.state.runtime.limits)
            self._metrics.task = self.state.runtime.task
            self.data.max_body_bytes = self.state.runtime.config.max_body_bytes

    def drain(self) -> None:
        """No new callers should come."""
        self.state.draining = True

    def end(self) -> None:
        """Cuts the calls that are still under way."""
        self.pipeline.in_flight.abort()
        self._pool.close()
        self._limits.close()
        self._journal.close()
