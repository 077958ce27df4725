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


class Origin(NamedTuple):
    """Where connections lead. `realm` keeps connections apart that were made under different rules."""

    https: bool
    host: str
    port: int
    realm: str = ""
    server_name: str = ""
    """The name that its certificate must be for; empty: `host`."""


AddressRule = Callable[[Origin, str], str]
"""Why an origin's address may not be connected to; empty when it may."""


class DialError(Exception):
    """There is no connection; `failure` says why."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(cause, detail, sent=False)


class Dialler:
    """Makes connections under a rule.

    `seconds` are for all addresses of a name together, lookup and TLS handshake included. `ca_file` holds certificates
    of authorities in PEM that are trusted besides the system's; `tls` gives the context in place of all that.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rule: AddressRule,
        *,
        seconds: float,
        ca_file: str = "",
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.names = Names(loop)
        self._loop = loop
        self._rule = rule
        self._seconds = seconds
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._tls_of = tls or self._tls_context

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
        addresses = in_turn(await self.names.addresses(origin.host), turn)
        refusals = {address: self._rule(origin, address) for address in addresses}
        allowed = [address for address in addresses if not refusals[address]]
        if not allowed:
            why = next(iter(refusals.values()), "it has no address")
            raise DialError(Cause.FORBIDDEN, f"{origin.host}: {why}")
        share = self._seconds / len(allowed)  # an address that is silent must leave time for the others
        for address in allowed[:-1]:
            try:
                async with asyncio.timeout(share):
                    return await self._open(origin, address, make)
            except OSError:  # TimeoutError is one
                continue  # the name has another address
        return await self._open(origin, allowed[-1], make)

    async def _open(self, origin: Origin, address: str, make: Callable[[str], ClientConnection]) -> ClientConnection:
        tls = self._tls_of() if origin.https else None
        name = (origin.server_name or origin.host) if tls else None
        _, connection = await self._loop.create_connection(
            lambda: make(address), address, origin.port, ssl=tls, server_hostname=name
        )
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        # Made on first use: reading the certificates of the system takes 20 ms.
        if self._tls is None:
            tls = ssl.create_default_context()
            tls.set_alpn_protocols(["http/1.1"])
            if self._ca_file:
                tls.load_verify_locations(self._ca_file)
            self._tls = tls
        return self._tls


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
    if isinstance(error, ConnectionRefusedError):
        return "the connection is refused"
    return (
        f"no connection: {error.strerror or type(error).__name__}"
        if isinstance(error, OSError)
        else "its name is not valid"
    )
