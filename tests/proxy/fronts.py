"""Routers for tests: fed by a parent or by a feed, with proxies and management that record what they are sent."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from model_serving.proxy.control import Message, User
from model_serving.proxy.router_app import RouterService
from model_serving.proxy.settings import RouterSettings
from model_serving.proxy_config import Entry, Grant, News
from tests.fakes.upstream import FakeUpstream, Received
from tests.proxy.harness import MESSAGES, Answer, Running, call

USER = "dapi-ada"
AUTH = {"authorization": f"Bearer {USER}"}
GRANTS = [Grant("user", "ada", "CAN_QUERY")]
INVOCATIONS = "/serving-endpoints/ep/invocations"


def entry(*ports: int, **changes: Any) -> Entry:
    """An endpoint with proxies at these ports of this machine."""
    return Entry(**({"addresses": [f"127.0.0.1:{port}" for port in ports], "grants": GRANTS} | changes))


def told(**settings: Any) -> Running:
    """A router whose parent has told it all but endpoints."""
    service = RouterService(RouterSettings(**settings))
    users = {hashlib.sha256(USER.encode()).hexdigest(): User("ada")}
    service.message(Message(router_key="shared", users=users, table={}))
    return Running(service)


def set_table(running: Running, **table: Entry) -> None:
    """Replaces the table."""
    service: Any = running.service
    service.message(Message(table=table))


class Feed:
    """A feed that tells what the test wants, and knows some owners of tokens."""

    def __init__(self, *news: News, owners: dict[str, tuple[str, frozenset[str]]] | None = None) -> None:
        self._news = news
        self.owners = owners or {}
        self.asked: list[bytes] = []
        self.away = False
        self.answering = asyncio.Event()
        """Cleared: reviews wait."""
        self.answering.set()
        self.runs = 0
        self.faults = 0
        """How often `run` fails before it works."""
        self.tell: Callable[[News], None] = lambda news: None

    async def run(self, tell: Callable[[News], None]) -> None:
        self.runs += 1
        if self.runs <= self.faults:
            raise RuntimeError("no answer")
        self.tell = tell
        for news in self._news:
            tell(news)
        await asyncio.Event().wait()

    async def review(self, token: bytes) -> tuple[str, frozenset[str]] | None:
        self.asked.append(token)
        await self.answering.wait()
        if self.away:
            raise ConnectionError(f"cannot ask about {token!r}")
        return self.owners.get(token.decode())


@asynccontextmanager
async def fed(feed: Feed, **settings: Any) -> AsyncIterator[Running]:
    """A router with a feed."""
    async with Running(RouterService(RouterSettings(**settings), feed)) as running:
        yield running


async def ask(front: Running, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    """A chat call to endpoint `ep`."""
    return await call(front.port, INVOCATIONS, {"messages": MESSAGES} | fields, AUTH if headers is None else headers)


async def ready(front: Running) -> bool:
    """Whether the router says so."""
    return (await call(front.admin_port, "/readyz")).status == 200


@asynccontextmanager
async def management(*answers: bytes) -> AsyncIterator[FakeUpstream]:
    """What stands in for the REST API: answers with what it was sent, or with `answers` first."""

    async def echo(request: Received, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"method": request.method, "path": request.path, "body": request.body.decode()}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)

    def raw(answer: bytes) -> Any:
        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        return script

    async with FakeUpstream() as fake:
        fake._answer = echo  # type: ignore[method-assign]
        fake.scripts += [raw(answer) for answer in answers]
        yield fake
