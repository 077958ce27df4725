"""Keep-alive connections to upstreams, and the fetches that go over them. Used by `upstream.py` and the router.

A request goes over an idle connection or a new one. When sending fails before anything was written, another
connection is tried; never afterwards. Connections that were idle for some seconds are not used again: servers close
them at about five, and a request sent into that moment would be lost.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from model_serving.proxy.http.client import ClientConnection
from model_serving.proxy.http.response import Cause, Failure, ResponseListener

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 4.0
MAX_IDLE = 512


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead. `realm` keeps connections apart that were made under different rules."""

    https: bool
    host: str
    port: int
    realm: str = ""


AddressRule = Callable[[Origin, str], str]
"""Why an origin's address may not be connected to; empty when it may."""


class ForbiddenAddressError(Exception):
    """The rule refuses each address of an origin; the text says why."""


class Fetch:
    """One request on its way over some connection."""

    __slots__ = ("connection", "dialling")

    def __init__(self) -> None:
        self.connection: ClientConnection | None = None
        self.dialling: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Ends it, wherever it is; the listener hears nothing more. Only while it is neither ended nor failed."""
        if self.connection is not None:
            self.connection.abort()
        elif self.dialling is not None:
            self.dialling.cancel()

    def pause(self) -> None:
        """Reads no more of the answer for now."""
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        """Reads on."""
        if self.connection is not None:
            self.connection.resume()


class Pool:
    """Idle connections by origin."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rule: AddressRule, tls: ssl.SSLContext | None = None) -> None:
        self._loop = loop
        self._rule = rule
        self._tls = tls
        self._idle: dict[Origin, list[ClientConnection]] = {}

    def send(self, origin: Origin, request: bytes, listener: ResponseListener) -> Fetch:
        """Sends a complete request; the listener hears of the answer, never from within this call."""
        fetch = Fetch()
        connection = self._take(origin)
        if connection is not None:
            fetch.connection = connection
            connection.send(request, listener)
        else:
            fetch.dialling = self._loop.create_task(self._dial(origin, request, listener, fetch))
        return fetch

    def sweep(self, now: float) -> None:
        """Closes connections that nobody used for a while; called every second or so."""
        for origin, idle in list(self._idle.items()):
            fresh = [connection for connection in idle if self._fresh(connection, now)]
            for connection in idle:
                if connection not in fresh:
                    connection.abort()
            if fresh:
                self._idle[origin] = fresh
            else:
                del self._idle[origin]

    def close(self) -> None:
        """Closes all idle connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()

    def _take(self, origin: Origin) -> ClientConnection | None:
        idle = self._idle.get(origin)
        now = self._loop.time()
        while idle:
            connection = idle.pop()  # the one used last: the others may grow old
            if self._fresh(connection, now):
                return connection
            connection.abort()
        return None

    def _fresh(self, connection: ClientConnection, now: float) -> bool:
        allowed = IDLE_SECONDS
        if connection.keep_alive_seconds is not None:
            allowed = min(allowed, connection.keep_alive_seconds - 1.0)
        return connection.usable and now - connection.idle_since < allowed

    async def _dial(self, origin: Origin, request: bytes, listener: ResponseListener, fetch: Fetch) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await self._connect(origin)
        except ForbiddenAddressError as error:
            listener.response_failed(Failure(Cause.FORBIDDEN, str(error), sent=False))
        except TimeoutError:
            listener.response_failed(Failure(Cause.CONNECT, f"no connection within {CONNECT_SECONDS:g} s", sent=False))
        except (OSError, UnicodeError) as error:
            listener.response_failed(Failure(Cause.CONNECT, _reason(error), sent=False))
        else:
            fetch.connection = connection
            connection.send(request, listener)

    async def _connect(self, origin: Origin) -> ClientConnection:
        found = await self._loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        refusals = {address: self._rule(origin, address) for address in addresses}
        allowed = [address for address in addresses if not refusals[address]]
        if not allowed:
            raise ForbiddenAddressError(f"{origin.host}: {next(iter(refusals.values()), 'it has no address')}")
        share = CONNECT_SECONDS / len(allowed)  # an address that is silent must leave time for the others
        for address in allowed[:-1]:
            try:
                async with asyncio.timeout(share):
                    return await self._open(origin, address)
            except OSError:  # TimeoutError is one
                continue  # the name has another address
        return await self._open(origin, allowed[-1])

    async def _open(self, origin: Origin, address: str) -> ClientConnection:
        tls = self._tls_context() if origin.https else None
        _, connection = await self._loop.create_connection(
            lambda: ClientConnection(lambda made: self._release(origin, made)),
            address,
            origin.port,
            ssl=tls,
            server_hostname=origin.host if tls else None,
        )
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        # Made on first use: reading the certificates of the system takes 20 ms.
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _release(self, origin: Origin, connection: ClientConnection) -> None:
        connection.idle_since = self._loop.time()
        idle = self._idle.setdefault(origin, [])
        if len(idle) < MAX_IDLE:
            idle.append(connection)
        else:
            connection.abort()


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
