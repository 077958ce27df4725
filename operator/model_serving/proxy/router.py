"""The router's table: which endpoint is served where. Plain values and the choice among them; sans-I/O.

A port: the local platform fills it through the control pipe, Kubernetes through `cli.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from enum import StrEnum

import msgspec

from model_serving.proxy_config import Grant


class EntryState(StrEnum):
    """Whether an endpoint can be called."""

    READY = "ready"
    STARTING = "starting"
    """On its first start: calls are held for a while."""
    NOT_READY = "not_ready"


class Entry(msgspec.Struct, frozen=True):
    """One endpoint. `addresses` are HOST:PORT of its ready proxies; `message` says why it is not ready."""

    addresses: list[str] = []
    state: EntryState = EntryState.READY
    message: str = ""
    grants: list[Grant] = []
    task: str = ""

    def __post_init__(self) -> None:
        for address in self.addresses:
            split_address(address)


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT or [HOST]:PORT. ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Balancer:
    """Spreads calls over addresses: the one with the fewest calls under way, in turn among equals."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._turn = 0

    def pick(self, addresses: Sequence[str], tried: Collection[str] = ()) -> str | None:
        """An address that was not tried yet, counted as in use until `release`; None when there is none."""
        free = [address for address in addresses if address not in tried]
        if not free:
            return None
        self._turn += 1
        start = self._turn % len(free)
        chosen = min(free[start:] + free[:start], key=lambda address: self._under_way[address])
        self._under_way[chosen] += 1
        return chosen

    def release(self, address: str) -> None:
        """A call to `address` has ended."""
        self._under_way[address] -= 1
        if self._under_way[address] <= 0:
            del self._under_way[address]
