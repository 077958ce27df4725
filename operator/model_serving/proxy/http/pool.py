"""Connections to upstreams: kept alive, bounded in number, with a bounded queue. Used by `upstream.py` and the router.

A request goes over an idle connection or a new one; when an upstream has as many connections as it may, it waits for
one, and when enough wait it is refused at once. When sending fails before anything was written, another address is
tried; never afterwards. Connections that were idle for some seconds are not used again: servers close them at about
five, and a request sent into that moment would be lost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from model_serving.proxy.http.client import ClientConnection
from model_serving.proxy.http.dial import AddressRule, DialError, Dialler, Origin, Trust
from model_serving.proxy.http.names import GONE_SECONDS, Name
from model_serving.proxy.http.response import Cause, Failure, ResponseListener
from model_serving.proxy.http.tunnel import HttpProxy

__all__ = ["AddressRule", "Fetch", "Origin", "Pool", "PoolSettings"]

IDLE_SECONDS = 4.0
MAX_IDLE = 512


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What one origin gets. Times in seconds."""

    connections: int = 1024
    waiting: int = 1024
    """Requests that wait for a connection; a further one is refused at once."""
    wait_seconds: float = 10.0
    connect_seconds: float = 10.0
    """For all addresses of a name together, lookup and TLS handshake included."""
    ca_file: str = ""
    """Certificates of authorities in PEM that are trusted besides the system's."""
    proxy: HttpProxy | None = None
    """Through which upstreams are called; None: directly."""
    tls: Callable[[], ssl.SSLContext] | None = None
    """Gives the context of each connection with TLS, in place of `ca_file` and the system's authorities."""


class Step(Protocol):
    """What a fetch waits for before it has a connection."""

    def cancel(self) -> object:
        """Waits no longer."""


class Fetch:
    """One request on its way over some connection."""

    __slots__ = ("connection", "step")

    def __init__(self) -> None:
        self.connection: ClientConnection | None = None
        self.step: Step | None = None

    def abort(self) -> None:
        """Ends it, wherever it is; the listener hears nothing more. Only while it is neither ended nor failed."""
        if self.connection is not None:
            self.connection.abort()
        elif self.step is not None:
            self.step.cancel()

    def pause(self) -> None:
        """Reads no more of the answer for now."""
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        """Reads on."""
        if self.connection is not None:
            self.connection.resume()


class _Waiting:
    """A request that waits for a connection."""

    __slots__ = ("_queue", "fetch", "listener", "request", "until")

    def __init__(self, lane: _Lane, fetch: Fetch, request: bytes, listener: ResponseListener) -> None:
        self._queue = lane.waiting
        self.fetch = fetch
        self.request = request
        self.listener = listener
        self.until = 0.0

    def cancel(self) -> None:
        """Leaves its place to the others."""
        self._queue.remove(self)


class _Lane:
    """The connections of one origin."""

    __slots__ = ("dialling", "idle", "name", "open", "origin", "turn", "waiting")

    def __init__(self, origin: Origin, name: Name) -> None:
        self.origin = origin
        self.name = name
        self.idle: list[_Pooled] = []
        self.open = 0
        self.dialling = 0
        self.waiting: deque[_Waiting] = deque()
        self.turn = 0
        """Counts dials, so that they are spread over the addresses."""

    @property
    def unused(self) -> bool:
        return not (self.open or self.dialling or self.waiting)


class _Pooled(ClientConnection):
    """A connection that its lane counts."""

    def __init__(self, pool: Pool, lane: _Lane, address: str) -> None:
        super().__init__(lambda made: pool.released(lane, cast(_Pooled, made)))  # naming self would be a circle
        self.address = address
        self._pool = pool
        self._lane = lane

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._lane.open += 1
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lane.open -= 1
        super().connection_lost(exc)
        if self._lane.waiting:
            self._pool.serve_next(self._lane)


class Pool:
    """The connections of all origins."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, rule: AddressRule, settings: PoolSettings | None = None
    ) -> None:
        self._loop = loop
        self._settings = settings or PoolSettings()
        chosen = self._settings
        self._tls = chosen.tls or Trust(chosen.ca_file)
        self._dialler = Dialler(loop, rule, seconds=chosen.connect_seconds, tls=self._tls, proxy=chosen.proxy)
        self._lanes: dict[Origin, _Lane] = {}

    def send(self, origin: Origin, request: bytes, listener: ResponseListener) -> Fetch:
        """Sends a complete request; the listener hears of the answer, never from within this call."""
        lane = self._lanes.get(origin)
        if lane is None:
            name = self._dialler.names.of(self._dialler.connects_to(origin))
            lane = self._lanes[origin] = _Lane(origin, name)
        fetch = Fetch()
        connection = self._take(lane) if not lane.waiting else None
        if connection is not None:
            fetch.connection = connection
            connection.send(request, listener)
        elif self._has_room(lane):
            self._dial(lane, fetch, request, listener)
        elif len(lane.waiting) < self._settings.waiting:
            fetch.step = waiting = _Waiting(lane, fetch, request, listener)
            waiting.until = self._loop.time() + self._settings.wait_seconds
            lane.waiting.append(waiting)
        else:
            full = f"{lane.open + lane.dialling} calls to it are under way and {len(lane.waiting)} more wait already"
            fetch.step = self._loop.call_soon(listener.response_failed, Failure(Cause.CONNECT, full, sent=False))
        return fetch

    def sweep(self, now: float) -> None:
        """Closes connections that nobody used for a while or whose address is gone; called every second or so."""
        for origin, lane in list(self._lanes.items()):
            if lane.open:
                self._dialler.names.refresh(self._dialler.connects_to(origin))
            stale = [connection for connection in lane.idle if not self._fresh(lane, connection, now)]
            lane.idle = [connection for connection in lane.idle if connection not in stale]
            for connection in stale:
                connection.abort()
            self._give_up(lane, now)
            if lane.unused:
                del self._lanes[origin]
        self._dialler.names.forget({self._dialler.connects_to(origin) for origin in self._lanes}, now)

    def close(self) -> None:
        """Closes all idle connections."""
        for lane in self._lanes.values():
            for connection in lane.idle:
                connection.abort()
            lane.idle.clear()

    def state(self) -> tuple[int, int]:
        """Connections that are open or being made, and requests that wait for one."""
        lanes = self._lanes.values()
        return sum(lane.open + lane.dialling for lane in lanes), sum(len(lane.waiting) for lane in lanes)

    # What connections tell

    def released(self, lane: _Lane, connection: _Pooled) -> None:
        """The connection has brought an answer and can be used again."""
        connection.idle_since = self._loop.time()
        if len(lane.idle) >= MAX_IDLE:
            connection.abort()
            return
        lane.idle.append(connection)
        if lane.waiting:
            self._loop.call_soon(self.serve_next, lane)

    def serve_next(self, lane: _Lane) -> None:
        """There is a connection again, or room for one: lets go ahead who has waited longest."""
        while lane.waiting:
            connection = self._take(lane)
            if connection is None and not self._has_room(lane):
                return
            waiting = lane.waiting.popleft()
            if connection is not None:
                waiting.fetch.connection = connection
                connection.send(waiting.request, waiting.listener)
            else:
                self._dial(lane, waiting.fetch, waiting.request, waiting.listener)

    # Inside

    def _take(self, lane: _Lane) -> _Pooled | None:
        idle = lane.idle
        if not idle:
            return None
        now = self._loop.time()
        while idle:
            connection = idle.pop()  # the one used last: the others may grow old
            if self._fresh(lane, connection, now):
                return connection
            connection.abort()
        return None

    def _fresh(self, lane: _Lane, connection: _Pooled, now: float) -> bool:
        allowed = IDLE_SECONDS
        if connection.keep_alive_seconds is not None:
            allowed = min(allowed, connection.keep_alive_seconds - 1.0)
        if now - connection.idle_since >= allowed or not connection.usable:
            return False
        if lane.origin.https and connection.trust is not self._tls():  # who vouched for it may not count any more
            return False
        return now - lane.name.seen.get(connection.address, now - GONE_SECONDS) < GONE_SECONDS

    def _has_room(self, lane: _Lane) -> bool:
        return lane.open + lane.dialling < self._settings.connections

    def _give_up(self, lane: _Lane, now: float) -> None:
        """Fails the requests that have waited too long."""
        while lane.waiting and lane.waiting[0].until <= now:
            waiting = lane.waiting.popleft()
            late = f"none of its {lane.open} connections became free within {self._settings.wait_seconds:g} s"
            waiting.listener.response_failed(Failure(Cause.CONNECT, late, sent=False))

    def _dial(self, lane: _Lane, fetch: Fetch, request: bytes, listener: ResponseListener) -> None:
        lane.dialling += 1
        task = self._loop.create_task(self._send_new(lane, fetch, request, listener))
        task.add_done_callback(lambda _: self._dialled(lane))  # also when it is cancelled before it began
        fetch.step = task

    def _dialled(self, lane: _Lane) -> None:
        lane.dialling -= 1
        if lane.waiting:
            self.serve_next(lane)

    async def _send_new(self, lane: _Lane, fetch: Fetch, request: bytes, listener: ResponseListener) -> None:
        lane.turn += 1
        try:
            connection = await self._dialler.dial(lane.origin, lane.turn - 1, lambda at: _Pooled(self, lane, at))
        except DialError as error:
            listener.response_failed(error.failure)
        else:
            fetch.connection = connection
            connection.send(request, listener)
