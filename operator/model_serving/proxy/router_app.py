"""The router process: the proxy's engine with a table of endpoints. Started by `cli.py` through `run_router`."""

from __future__ import annotations

import asyncio
import secrets
import time

from model_serving.proxy.admin import Admin
from model_serving.proxy.control import Message
from model_serving.proxy.discovery import Discovery
from model_serving.proxy.feeding import Feeding
from model_serving.proxy.http.pool import Pool, PoolSettings
from model_serving.proxy.http.server import Server, ServerLimits
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.pipeline import RequestIds
from model_serving.proxy.process import Process, run_process
from model_serving.proxy.refusals import counting, refusal_body
from model_serving.proxy.reviews import Reviews
from model_serving.proxy.router import Balancer
from model_serving.proxy.router_call import RouterServices
from model_serving.proxy.router_copy import RouterCopy
from model_serving.proxy.router_feed import RouterFeed
from model_serving.proxy.router_journal import open_router_journal
from model_serving.proxy.router_pipeline import MOST_BODY_BYTES, RouterBounds, RouterPipeline
from model_serving.proxy.router_state import RouterState
from model_serving.proxy.settings import RouterSettings
from model_serving.proxy_config import News, ProxyStatus

LOOK_SECONDS = 1.0
"""How often files are looked at."""
MANAGEMENT_SHARE = 8
"""One part in so many of all that may be under way is for management, another may wait: calls keep the rest."""

NEWS_SECONDS = 1.0
"""How long news of a new endpoint may take to arrive through a feed. (The parent of a router tells it at once.)"""


def run_router(settings: RouterSettings, feed: RouterFeed | None = None) -> int:
    """Runs a router until it is told to end; returns the exit code. It is fed by `feed`, else by the control pipe."""
    return run_process(_main(settings, feed))


async def _main(settings: RouterSettings, feed: RouterFeed | None) -> int:
    return await Process(RouterService(settings, feed), settings.process).run()


class RouterService:
    """The parts of a router and what time, parent and feed do to them."""

    def __init__(self, settings: RouterSettings, feed: RouterFeed | None = None) -> None:
        process = settings.process
        metrics = Metrics()
        loop = asyncio.get_running_loop()
        ids = RequestIds(secrets.token_hex(6))
        self._journal = open_router_journal(metrics, process, loop.time)
        self._discovery = Discovery(settings.workspace_id, settings.oidc_issuer)
        self._state = RouterState(settings, fed=feed is not None)
        self._pool = Pool(loop, lambda origin, address: "", PoolSettings(tls=self._state.proxy_tls.context))
        share = max(process.max_in_flight // MANAGEMENT_SHARE, 1)
        self._management = Pool(loop, lambda origin, address: "", PoolSettings(connections=share, waiting=share))
        services = RouterServices(self._pool, Balancer(), self._journal, self._management)
        news = NEWS_SECONDS if feed is not None else 0.0
        bounds = RouterBounds(process.max_in_flight, process.max_request_seconds, settings.hold_seconds, news)
        self.pipeline = RouterPipeline(services, ids, bounds, self._discovery)
        self._state.attach(self.pipeline)
        self._feeding: Feeding | None = None
        if feed is not None:
            copy = RouterCopy(settings.state_file) if settings.state_file is not None else None
            self._feeding = Feeding(feed, self._take, copy)
            self.pipeline.reviews = Reviews(feed.review, self.pipeline.identity, time.time)
        metrics.in_flight = lambda: len(self.pipeline.in_flight)
        metrics.state = self.status
        metrics.connections = lambda: (("data", len(self.data.connections)), ("admin", len(self.admin.connections)))
        limits = ServerLimits(connections=process.max_connections, buffered_bytes=process.max_buffered_bytes)
        self.data = Server(self.pipeline.handle, counting(metrics.refused), limits)
        self.data.identify = ids.head
        self.data.tls = self._state.tls.context if self._state.tls is not None else None
        self.data.max_body_bytes = MOST_BODY_BYTES
        self.data.screen = self.pipeline.most_body
        self.pipeline.in_flight.memory = self.data.memory
        self.admin = Server(Admin(self.status, metrics).handle, refusal_body, ServerLimits(connections=256))
        self._next_look = 0.0
        self._listening = self._draining = False

    def status(self) -> ProxyStatus:
        """How the router stands."""
        missing, problems = self._state.missing(), self._state.problems()
        age = self._feeding.copy_age(time.time()) if self._feeding is not None else None
        if age is not None:
            problems.append(f"the table is a copy, {age:.0f} s old: what tells of endpoints gives no answer")
        return ProxyStatus(
            endpoint="",
            revision="",
            config_version=0,
            ready=self._listening and not self._draining and not missing,
            draining=self._draining,
            credentials=self._state.tls.reports() if self._state.tls is not None else [],
            problems=[*missing, *problems],
            in_flight=len(self.pipeline.in_flight),
            copy_age_seconds=age,
        )

    def listening(self) -> None:
        """Both ports are open."""
        self._listening = True
        if self._feeding is not None:
            self._feeding.start(asyncio.get_running_loop().time())

    def message(self, message: Message) -> None:
        """The parent hands over key, users, table or the address of management."""
        if message.router_key is not None:
            self._state.set_key(message.router_key)
        if message.users is not None:
            self._state.set_users({digest.lower(): user.as_principal() for digest, user in message.users.items()})
        if message.management is not None:
            self.pipeline.management = message.management
        self._take(message)

    def tick(self, now: float, wall: float) -> None:
        """Deadlines and connections, and once a second the files."""
        self._journal.tick(now, wall)
        self.data.sweep(now, wall)
        self.admin.sweep(now, wall)
        self.pipeline.sweep(now)
        self._pool.sweep(now)
        self._management.sweep(now)
        if self._feeding is not None:
            self._feeding.tick(now)
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._state.refresh(wall)

    def drain(self) -> None:
        """No new callers should come."""
        self._draining = True

    def end(self) -> None:
        """Cuts the calls that are still under way."""
        if self._feeding is not None:
            self._feeding.stop()
        if self.pipeline.reviews is not None:
            self.pipeline.reviews.close()
        self.pipeline.abort()
        self._pool.close()
        self._management.close()
        self._journal.close()

    def _take(self, news: News) -> None:
        """Takes over what parent, feed or copy tell."""
        if news.workspace_id is not None:
            self._discovery.workspace_id = news.workspace_id
        if news.issuers is not None:
            self._state.set_issuers(news.issuers)
        if news.table is not None:
            self._state.set_table(news.table)
