"""The router process: the proxy's engine with a table of endpoints. Started by `cli.py` through `run_router`."""

from __future__ import annotations

import asyncio
import secrets

from model_serving.proxy.admin import Admin
from model_serving.proxy.auth import TokenTable
from model_serving.proxy.control import Message
from model_serving.proxy.http.pool import Pool
from model_serving.proxy.http.server import Server, ServerLimits
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.pipeline import RequestIds
from model_serving.proxy.process import Process, run_process
from model_serving.proxy.refusals import counting, refusal_body
from model_serving.proxy.router import Balancer
from model_serving.proxy.router_call import RouterServices
from model_serving.proxy.router_journal import open_router_journal
from model_serving.proxy.router_pipeline import RouterBounds, RouterPipeline
from model_serving.proxy.settings import RouterSettings
from model_serving.proxy_config import ProxyStatus


def run_router(settings: RouterSettings) -> int:
    """Runs a router until it is told to end; returns the exit code."""
    return run_process(_main(settings))


async def _main(settings: RouterSettings) -> int:
    return await Process(RouterService(settings), settings.process).run()


class RouterService:
    """The parts of a router and what time and parent do to them."""

    def __init__(self, settings: RouterSettings) -> None:
        process = settings.process
        metrics = Metrics()
        loop = asyncio.get_running_loop()
        self._pool = Pool(loop, lambda origin, address: "")
        bounds = RouterBounds(process.max_in_flight, process.max_request_seconds, settings.hold_seconds)
        self._journal = open_router_journal(metrics, process, loop.time)
        services = RouterServices(self._pool, Balancer(), self._journal)
        ids = RequestIds(secrets.token_hex(6))
        self.pipeline = RouterPipeline(services, ids, bounds, settings.workspace_id)
        metrics.in_flight = lambda: len(self.pipeline.in_flight)
        limits = ServerLimits(connections=process.max_connections, buffered_bytes=process.max_buffered_bytes)
        metrics.state = self.status
        metrics.connections = lambda: (("data", len(self.data.connections)), ("admin", len(self.admin.connections)))
        self.data = Server(self.pipeline.handle, counting(metrics.refused), limits)
        self.data.identify = ids.head
        self.pipeline.in_flight.memory = self.data.memory
        self.data.max_body_bytes = 16 * 1024 * 1024  # each endpoint's proxy has its own, smaller bound
        self.admin = Server(Admin(self.status, metrics).handle, refusal_body, ServerLimits(connections=256))
        self._missing = {"the router key", "the table of endpoints", "the users"}
        self._listening = self._draining = False

    def status(self) -> ProxyStatus:
        """How the router stands."""
        return ProxyStatus(
            endpoint="",
            revision="",
            config_version=0,
            ready=self._listening and not self._draining and not self._missing,
            draining=self._draining,
            problems=[f"{what} has not been handed over yet" for what in sorted(self._missing)],
            in_flight=len(self.pipeline.in_flight),
        )

    def listening(self) -> None:
        """Both ports are open."""
        self._listening = True

    def message(self, message: Message) -> None:
        """The parent hands over key, users or table."""
        if message.router_key is not None:
            self.pipeline.router_key = message.router_key
            self._missing.discard("the router key")
        if message.users is not None:
            users = {digest.lower(): user.as_principal() for digest, user in message.users.items()}
            self.pipeline.identity.replace((TokenTable(users),))
            self._missing.discard("the users")
        if message.table is not None:
            self.pipeline.set_table(message.table)
            self._missing.discard("the table of endpoints")

    def tick(self, now: float, wall: float) -> None:
        """Deadlines and connections."""
        self._journal.tick(now, wall)
        self.data.sweep(now, wall)
        self.admin.sweep(now, wall)
        self.pipeline.sweep(now)
        self._pool.sweep(now)

    def drain(self) -> None:
        """No new callers should come."""
        self._draining = True

    def end(self) -> None:
        """Cuts the calls that are still under way."""
        self.pipeline.abort()
        self._pool.close()
        self._journal.close()
