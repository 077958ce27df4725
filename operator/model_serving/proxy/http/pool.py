"""Connections to upstreams: kept alive, bounded in number, with a bounded queue. Used by `upstream.py` and the router.

A request goes over an idle connection or a new one; when an upstream has as many connections as it may, it waits for
one, and when enough wait it is refused at once. When sending fails before anything was written, another address is
tried; never afterwards. Connections that were idle for some seconds are not used again: servers close them at about
five, and a request sent into that moment would be lost.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model_serving.proxy.http.client import ClientConnection
from model_serving.proxy.http.names import GONE_SECONDS, Name, Names
from model_serving.proxy.http.response import Cause, Failure, ResponseListener

IDLE_SECONDS = 4.0
MAX_IDLE = 512


class Origin(NamedTuple):
    """Where connections lead. `realm` keeps connections apart that were made under different rules."""

    https: bool
    host: str
    port: int
    realm: str = ""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What one origin gets, and how its TLS is verified. Times in seconds."""

    connections: int = 1024
    waiting: int = 1024
    """Requests that wait for a connection; a further one is refused at once."""
    wait_seconds: float = 10.0
    connect_seconds: float = 10.0
    """For all addresses of a name together, lookup and TLS handshake included."""
    ca_file: str = ""
    """Certificates of authorities in PEM that are trusted besides the system's."""


AddressRule = Callable[[Origin, str], str]
"""Why an origin's address may not be connected to; empty when it may."""


class ForbiddenAddressError(Exception):
    """The rule refuses each address of an origin; the text says why."""


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

    __slots__ = ("cancelled", "fetch", "listener", "request", "until")

    def __init__(self, fetch: Fetch, request: bytes, listener: ResponseListener, until: float) -> None:
        self.fetch = fetch
        self.request = request
        self.listener = listener
        self.until = until
        self.cancelled = False

    def cancel(self) -> None:
        """It is passed over; what it holds is let go at once."""
        self.cancelled = True
        self.request = b""


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

    def addresses(self, known: tuple[str, ...]) -> list[str]:
        """The addresses in the order in which this dial tries them: the first family's take turns to be first."""
        leading = [address for address in known if (":" in address) == (":" in known[0])] if known else []
        others = [address for address in known if address not in leading]
        start = self.turn % len(leading) if leading else 0
        self.turn += 1
        return leading[start:] + leading[:start] + others


class _Pooled(ClientConnection):
    """A connection that its lane counts."""

    def __init__(self, pool: Pool, lane: _Lane, address: str) -> None:
        super().__init__(lambda made: pool.released(lane, self))
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

    def __init__(self, loop: asyncio.AbstractEventLoop, rule: AddressRule, limits: PoolLimits | None = None) -> None:
        self._loop = loop
        self._rule = rule
        self._limits = limits or PoolLimits()
        self._names = Names(loop)
        self._lanes: dict[Origin, _Lane] = {}
        self._tls: ssl.SSLContext | None = None

    def send(self, origin: Origin, request: bytes, listener: ResponseListener) -> Fetch:
        """Sends a complete request; the listener hears of the answer, never from within this call."""
        lane = self._lanes.get(origin)
        if lane is None:
            lane = self._lanes[origin] = _Lane(origin, self._names.of(origin.host))
        fetch = Fetch()
        connection = self._take(lane) if not lane.waiting else None
        if connection is not None:
            fetch.connection = connection
            connection.send(request, listener)
        elif self._has_room(lane):
            self._dial(lane, fetch, request, listener)
        elif len(lane.waiting) < self._limits.waiting:
            waiting = _Waiting(fetch, request, listener, self._loop.time() + self._limits.wait_seconds)
            lane.waiting.append(waiting)
            fetch.step = waiting
        else:
            full = f"{lane.open + lane.dialling} calls to it are under way and {len(lane.waiting)} more wait already"
            fetch.step = self._loop.call_soon(listener.response_failed, Failure(Cause.CONNECT, full, sent=False))
        return fetch

    def sweep(self, now: float) -> None:
        """Closes connections that nobody used for a while or whose address is gone; called every second or so."""
        for origin, lane in list(self._lanes.items()):
            if lane.open:
                self._names.refresh(origin.host)
            stale = [connection for connection in lane.idle if not self._fresh(lane, connection, now)]
            lane.idle = [connection for connection in lane.idle if connection not in stale]
            for connection in stale:
                connection.abort()
            self._give_up(lane, now)
            if lane.unused:
                del self._lanes[origin]
        self._names.forget({origin.host for origin in self._lanes})

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
            if lane.waiting[0].cancelled:
                lane.waiting.popleft()
                continue
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
        return now - lane.name.seen.get(connection.address, now - GONE_SECONDS) < GONE_SECONDS

    def _has_room(self, lane: _Lane) -> bool:
        return lane.open + lane.dialling < self._limits.connections

    def _give_up(self, lane: _Lane, now: float) -> None:
        """Fails the requests that have waited too long, and forgets those that nobody wants any more."""
        while lane.waiting and (lane.waiting[0].cancelled or lane.waiting[0].until <= now):
            waiting = lane.waiting.popleft()
            if not waiting.cancelled:
                late = f"none of its {lane.open} connections became free within {self._limits.wait_seconds:g} s"
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
        seconds = self._limits.connect_seconds
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect(lane)
        except ForbiddenAddressError as error:
            listener.response_failed(Failure(Cause.FORBIDDEN, str(error), sent=False))
        except TimeoutError:
            listener.response_failed(Failure(Cause.CONNECT, f"no connection within {seconds:g} s", sent=False))
        except (OSError, UnicodeError) as error:
            listener.response_failed(Failure(Cause.CONNECT, _reason(error), sent=False))
        else:
            fetch.connection = connection
            connection.send(request, listener)

    async def _connect(self, lane: _Lane) -> ClientConnection:
        origin = lane.origin
        addresses = lane.addresses(await self._names.addresses(origin.host))
        refusals = {address: self._rule(origin, address) for address in addresses}
        allowed = [address for address in addresses if not refusals[address]]
        if not allowed:
            raise ForbiddenAddressError(f"{origin.host}: {next(iter(refusals.values()), 'it has no address')}")
        share = self._limits.connect_seconds / len(allowed)  # one that is silent must leave time for the others
        for address in allowed[:-1]:
            try:
                async with asyncio.timeout(share):
                    return await self._open(lane, address)
            except OSError:  # TimeoutError is one
                continue  # the name has another address
        return await self._open(lane, allowed[-1])

    async def _open(self, lane: _Lane, address: str) -> ClientConnection:
        origin = lane.origin
        tls = self._tls_context() if origin.https else None
        _, connection = await self._loop.create_connection(
            lambda: _Pooled(self, lane, address),
            address,
            origin.port,
            ssl=tls,
            server_hostname=origin.host if tls else None,
        )
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        # Made on first use: reading the certificates of the system takes 20 ms.
        if self._tls is None:
            tls = ssl.create_default_context()
            tls.set_alpn_protocols(["http/1.1"])
            if self._limits.ca_file:
                tls.load_verify_locations(self._limits.ca_file)
            self._tls = tls
        return self._tls


def _reason(error: Exception) -> str:
    """What went wrong, without addresses of the inside."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'handshake'}"
    if isinstance(error, socket.gaierror):
        return "its name is not found"
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused"
    return (
        f"no connection: {error.strerror or type(error).__name__}"
        if isinstance(error, OSError)
        else "its name is not valid"
    )
