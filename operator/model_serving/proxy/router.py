"""The choice among the proxies of an endpoint; sans-I/O. The table that names them is in `proxy_config.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence


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
