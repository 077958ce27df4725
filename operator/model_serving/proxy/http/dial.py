"""Making a connection to an upstream: its addresses, which of them may be called, TLS. Used by `pool.py`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

from model_serving.proxy.http.client import ClientConnection
from model_serving.proxy.http.names import Names
from model_serving.proxy.http.response import Cause, Failure
from model_serving.proxy.http.tunnel import HttpProxy, TunnelError, open_tunnel, secure


class Origin(NamedTuple):
    """Where connections lead. `realm` keeps connections apart that were made under different rules."""

    https: bool
    host: str
    port: int
    realm: str = ""
    server_name: str = ""
    """The name that its certificate must be for; empty: `host`."""


AddressRule = Callable[[Origin, str], str]
"""Why an origin's address may not be connected to; empty when it may. Asked with the origin's name in place of an
address when an HTTP proxy looks that up."""


class DialError(Exception):
    """There is no connection; `failure` says why."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(cause, detail, sent=False)


class Trust:
    """The context of connections with TLS: the system's authorities, and those of `ca_file` (PEM) besides."""

    def __init__(self, ca_file: str = "") -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        """Made on first use: reading the certificates of the system takes 20 ms."""
        if self._context is None:
            self._context = self.fresh()
        return self._context

    def fresh(self) -> ssl.SSLContext:
        """A new one."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        if self._ca_file:
            context.load_verify_locations(self._ca_file)
        return context


class Dialler:
    """Makes connections under a rule.

    `seconds` are for all addresses of a name together, lookup and TLS handshake included. `tls` gives the context of
    each connection with TLS; `proxy` is the HTTP proxy that upstreams are called through.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rule: AddressRule,
        *,
        seconds: float,
        tls: Callable[[], ssl.SSLContext] | None = None,
        proxy: HttpProxy | None = None,
    ) -> None:
        self.names = Names(loop)
        self._loop = loop
        self._rule = rule
        self._seconds = seconds
        self._tls_of = tls or Trust()
        self._proxy = proxy

    def connects_to(self, origin: Origin) -> str:
        """The host whose addresses connections for `origin` lead to: its own, or the HTTP proxy's."""
        proxy = self._proxy_for(origin)
        return proxy.host if proxy is not None else origin.host

    async def dial(self, origin: Origin, turn: int, make: Callable[[str], ClientConnection]) -> ClientConnection:
        """A new connection; `make` gets the address, `turn` counts dials, which are spread over the addresses.

        DialError when there is none.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._try_all(origin, turn, make)
        except TimeoutError:
            raise DialError(Cause.CONNECT, f"no connection within {self._seconds:g} s") from None
        except (OSError, ValueError, OverflowError) as error:  # a name or a port that cannot be
            raise DialError(Cause.CONNECT, _reason(error)) from None

    async def _try_all(self, origin: Origin, turn: int, make: Callable[[str], ClientConnection]) -> ClientConnection:
        allowed = await self._allowed(origin, turn)
        share = self._seconds / len(allowed)  # an address that is silent must leave time for the others
        for address in allowed[:-1]:
            try:
                async with asyncio.timeout(share):
                    return await self._open(origin, address, make)
            except OSError:  # TimeoutError is one
                continue  # the name has another address
        return await self._open(origin, allowed[-1], make)

    async def _allowed(self, origin: Origin, turn: int) -> list[str]:
        """The addresses to try. DialError when there is none that may be called."""
        proxied = self._proxy_for(origin) is not None
        if proxied and (why := self._rule(origin, origin.host) or _clear_text(origin)):
            raise DialError(Cause.FORBIDDEN, f"{origin.host}: {why}")
        addresses = in_turn(await self.names.addresses(self.connects_to(origin)), turn)
        refusals = {address: "" if proxied else self._rule(origin, address) for address in addresses}
        allowed = [address for address in addresses if not refusals[address]]
        if not allowed:
            why = next(iter(refusals.values()), "it has no address")
            raise DialError(Cause.FORBIDDEN, f"{origin.host}: {why}")
        return allowed

    def _proxy_for(self, origin: Origin) -> HttpProxy | None:
        proxy = self._proxy
        return proxy if proxy is not None and proxy.serves(origin.host, origin.realm) else None

    async def _open(self, origin: Origin, address: str, make: Callable[[str], ClientConnection]) -> ClientConnection:
        tls = self._tls_of() if origin.https else None
        name = (origin.server_name or origin.host) if tls else None
        proxy = self._proxy_for(origin)
        if proxy is not None and tls is not None:
            tunnel = await open_tunnel(self._loop, address, proxy, origin.host, origin.port)
            transport = await secure(self._loop, tunnel, tls, name or "")
            connection = make(address)
            transport.set_protocol(connection)
            connection.connection_made(transport)
            connection.trust = tls
            return connection
        _, connection = await self._loop.create_connection(
            lambda: make(address), address, origin.port, ssl=tls, server_hostname=name
        )
        connection.trust = tls
        return connection


def _clear_text(origin: Origin) -> str:
    if origin.https:
        return ""
    return (
        "http:// is not called through the HTTP proxy, which would see the key: use https://, or name the host among "
        "those that are called without the proxy"
    )


def in_turn(addresses: tuple[str, ...], turn: int) -> list[str]:
    """The addresses in the order in which one dial tries them: those of the first family take turns to be first.

    The resolver has put the family first that works better here; the other one is for need alone.
    """
    leading = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    others = [address for address in addresses if address not in leading]
    start = turn % len(leading) if leading else 0
    return leading[start:] + leading[:start] + others


def _reason(error: Exception) -> str:
    """What went wrong, without addresses of the inside."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'handshake'}"
    if isinstance(error, socket.gaierror):
        return "its name is not found"
    if isinstance(error, TunnelError):
        return str(error)
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused"
    return (
        f"no connection: {error.strerror or type(error).__name__}"
        if isinstance(error, OSError)
        else "its name is not valid"
    )
