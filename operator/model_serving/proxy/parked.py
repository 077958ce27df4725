"""Calls that wait before they are sent on: for the limits' common store, an endpoint's start, a review of the caller.

A client may leave meanwhile; the next look at the lot finds that, like a call that has waited too long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Generic, TypeVar

from model_serving.proxy.http.exchange import Exchange

T = TypeVar("T")


class Parked(Generic[T]):
    """A call that waits until `deadline` (the loop's clock), and the listener to its client meanwhile."""

    __slots__ = ("call", "deadline", "exchange")

    def __init__(self, exchange: Exchange, call: T, deadline: float) -> None:
        self.exchange = exchange
        self.call = call
        self.deadline = deadline

    def client_gone(self) -> None:
        self.deadline = 0.0

    def client_slow(self) -> None:
        """Nothing is sent to it yet."""

    def client_ready(self) -> None:
        """Nothing is sent to it yet."""


class ParkingLot(Generic[T]):
    """The calls that wait for one kind of thing."""

    def __init__(self, places: float = math.inf) -> None:
        self._places = places
        self.calls: dict[Parked[T], None] = {}
        """Those that wait, in the order in which they came; to be read alone."""

    def __len__(self) -> int:
        return len(self.calls)

    @property
    def full(self) -> bool:
        """Whether a further call is one too many."""
        return len(self.calls) >= self._places

    def park(self, parked: Parked[T]) -> None:
        """Lets a call wait."""
        parked.exchange.listener = parked
        self.calls[parked] = None

    def leave(self, parked: Parked[T]) -> bool:
        """Whether the call goes on now; False when it waits no more or its client has left."""
        if parked not in self.calls or parked.exchange.done:
            return False
        self._take(parked)
        return True

    def __iter__(self) -> Iterator[Parked[T]]:
        """Those that wait now, in the order in which they came; they may be taken out meanwhile."""
        return iter(list(self.calls))

    def overdue(self, now: float) -> list[Parked[T]]:
        """Takes out those whose time is over, and those whose client has left: their exchange is done."""
        late = [parked for parked in self.calls if parked.deadline <= now]
        for parked in late:
            self._take(parked)
        return late

    def _take(self, parked: Parked[T]) -> None:
        del self.calls[parked]
        parked.exchange.listener = None
