"""Addresses of host names, looked up once for all who ask and remembered for a while. Used by `pool.py`.

A lookup blocks a thread of the loop for as long as the resolver likes. So there is one at a time for each name, a
failed one is remembered for a moment too, and when the resolver is away the last addresses stay good for a while.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket

FRESH_SECONDS = 30.0
"""After that a name is looked up again."""
GONE_SECONDS = 60.0
"""An address that no lookup has given for so long is gone; some names give a part of their addresses at a time."""
STALE_SECONDS = 300.0
"""How long the last addresses stay good while lookups fail."""
FAILED_SECONDS = 1.0
"""How long a failed lookup answers for the next ones."""


class Name:
    """What is known of one name."""

    __slots__ = ("addresses", "error", "fresh_until", "good_until", "lookup", "seen")

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        """In the order in which the resolver wants them to be tried."""
        self.seen: dict[str, float] = {}
        """When a lookup gave each address last."""
        self.fresh_until = -math.inf
        self.good_until = -math.inf
        self.error: Exception | None = None
        self.lookup: asyncio.Task[None] | None = None


class Names:
    """The names that are called."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._names: dict[str, Name] = {}

    def of(self, host: str) -> Name:
        """What is known of `host`; of an address everything is."""
        name = self._names.get(host)
        if name is None:
            name = self._names[host] = Name()
            if _is_address(host):
                name.addresses, name.seen = (host,), {host: math.inf}
                name.fresh_until = math.inf
        return name

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of `host` now. OSError and UnicodeError as `getaddrinfo` raises them."""
        name = self.of(host)
        if self._loop.time() >= name.fresh_until:
            # Shielded: who gives up waiting must not take the answer from the others.
            await asyncio.shield(self._look(host, name))
        if name.error is not None and self._loop.time() >= name.good_until:
            raise name.error.with_traceback(None)
        return name.addresses

    def refresh(self, host: str) -> None:
        """Looks `host` up if that was long ago; who calls it all the time would else never learn of a change."""
        name = self.of(host)
        if self._loop.time() >= name.fresh_until:
            self._look(host, name)

    def forget(self, kept: set[str], now: float) -> None:
        """Forgets what is known of all names but these, unless it is still good."""
        for host, name in list(self._names.items()):
            if host not in kept and name.lookup is None and now >= name.good_until:
                del self._names[host]

    def _look(self, host: str, name: Name) -> asyncio.Task[None]:
        if name.lookup is None:
            name.lookup = self._loop.create_task(self._ask(host, name))
        return name.lookup

    async def _ask(self, host: str, name: Name) -> None:
        try:
            found = await self._loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            name.error = error
            now = self._loop.time()
            name.fresh_until = now + FAILED_SECONDS
            if now < name.good_until:
                name.seen = dict.fromkeys(name.addresses, now)
        else:
            name.error = None
            now = self._loop.time()
            name.addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
            former = {address: when for address, when in name.seen.items() if now - when < GONE_SECONDS}
            name.seen = former | dict.fromkeys(name.addresses, now)
            name.fresh_until, name.good_until = now + FRESH_SECONDS, now + STALE_SECONDS
        finally:
            name.lookup = None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
