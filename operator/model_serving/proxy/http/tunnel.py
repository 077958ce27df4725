"""The way through an HTTP proxy that the admin has set: a tunnel made with CONNECT, TLS inside. Used by `dial.py`.

The proxy sees names and ciphertext, never a key. So an `http://` upstream is not called through it. It resolves names
itself: which address it connects to is out of our sight, and only names are checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from dataclasses import dataclass

MAX_HEAD_BYTES = 16 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_OWN_NAMES = re.compile(r"[^.]+|(.*\.)?localhost|.*\.svc|.*\.svc\..*")
"""Names that mean something inside the cluster or this machine alone: a proxy outside could not know them."""


class TunnelError(OSError):
    """The proxy made no tunnel; the text says why."""


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """Where the proxy listens, and the hosts that are called without it: names (with all below them), addresses,
    ranges, or `*` for all. `inside` are realms of origins that are never beyond it."""

    host: str
    port: int
    direct: tuple[str, ...] = ()
    inside: frozenset[str] = frozenset()

    def serves(self, host: str, realm: str = "") -> bool:
        """Whether `host` is called through it."""
        if realm in self.inside:
            return False
        name = host.lower().removesuffix(".")
        try:
            address = ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return not (_OWN_NAMES.fullmatch(name) or any(_below(name, entry) for entry in self.direct))
        return not (address.is_loopback or any(_within(address, entry) for entry in self.direct))


def parse_direct(text: str) -> tuple[str, ...]:
    """The entries of a list as `NO_PROXY` has it."""
    return tuple(word.lower().lstrip("*.") or "*" for word in re.split(r"[,\s]+", text) if word)


def _below(name: str, entry: str) -> bool:
    return entry == "*" or name == entry or name.endswith("." + entry)


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return address in network


async def open_tunnel(
    loop: asyncio.AbstractEventLoop, address: str, proxy: HttpProxy, host: str, port: int
) -> asyncio.Transport:
    """A connection to `host` through the proxy at `address`. TunnelError, or any OSError of the connection."""
    transport, asking = await loop.create_connection(lambda: _Asking(loop), address, proxy.port)
    try:
        name = host.encode("ascii" if host.isascii() else "idna")
        place = b"%b:%d" % (b"[%b]" % name if b":" in name else name, port)
        transport.write(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\nuser-agent: model-serving\r\n\r\n" % (place, place))
        await asking.answer
    except BaseException:
        transport.abort()
        raise
    return transport


async def secure(
    loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, tls: ssl.SSLContext, name: str
) -> asyncio.Transport:
    """TLS over a tunnel. The transport has no proper protocol yet: nobody speaks before the first request."""
    quiet = _Quiet()
    try:
        made = await loop.start_tls(transport, quiet, tls, server_hostname=name)
    except BaseException:
        transport.abort()
        raise
    if made is None or quiet.spoilt:
        transport.abort()
        raise TunnelError("the connection ended before it was used")
    return made


class _Asking(asyncio.Protocol):
    """Awaits the head of the proxy's answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[None] = loop.create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.answer.done():
            return
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            self._judge(head + end, rest)
        elif len(self._head) > MAX_HEAD_BYTES:
            self._refuse("its answer is not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self._refuse("it closed the connection")

    def _judge(self, head: bytes, rest: bytes) -> None:
        found = _STATUS_LINE.match(head)
        status = int(found[1]) if found else 0
        if 200 <= status < 300 and not rest:
            self.answer.set_result(None)
        elif status == 407:
            self._refuse("it wants credentials, and it is called without any: let this cluster through by its address")
        else:
            self._refuse(f"it answered with status {status}" if status and not rest else "its answer is not HTTP")

    def _refuse(self, why: str) -> None:
        self.answer.set_exception(TunnelError(f"the HTTP proxy made no tunnel: {why}"))


class _Quiet(asyncio.Protocol):
    """Holds a connection between its handshake and its first use; whatever happens then spoils it."""

    spoilt = False

    def data_received(self, data: bytes) -> None:
        self.spoilt = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.spoilt = True
