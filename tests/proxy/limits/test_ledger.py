"""Proxies that count together: any interleaving of calls, streams, failures, clocks and losses of the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from model_serving.proxy.auth import Principal
from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy.limits import Asking, Limiter, Reservation, Rules
from model_serving.proxy.limits.ledger import Ledger, Standing
from model_serving.proxy_config import Limit
from tests.proxy.limits.fake_store import FakeStore

CALLS, TOKENS, PROXIES = 12, 300, 3
RULES = Rules([Limit("endpoint", CALLS), Limit("endpoint", tokens=TOKENS)], PROXIES)


@dataclass
class Proxy:
    """One proxy with its link to the store, by hand: `sync` is a round trip."""

    world: World
    limiter: Limiter = field(default_factory=Limiter)
    open: list[Reservation] = field(default_factory=list)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.ledger = Ledger(lambda: None)
        self.limiter.join(self.ledger)
        self.limiter.follow(RULES)

    def call(self) -> None:
        asking = Asking(Principal("ada"), b"", {"max_tokens": msgspec.Raw(b"19")})
        try:
            reservation = self.limiter.reserve(RULES, asking, self.world.now, self.call)
        except LimitExceeded as error:
            assert error.retry_after and 0 < error.retry_after <= 63
            return
        if reservation is not None:
            self.world.admitted.append(self.world.now)
            self.open.append(reservation)

    def end(self, used: int | None, sent: bool = True) -> None:
        if self.open:
            self.open.pop().settle(used, self.world.now, sent)

    def sync(self, answers: bool = True) -> None:
        """A request, carried out by the store or not; without an answer the link tries again once, then parts."""
        world, sent_at = self.world, self.world.now
        names, numbers = self.ledger.request(sent_at)
        latest = self.ledger.latest(sent_at)
        world.number += 1
        reply = world.store.answer(sent_at, [500, PROXIES, latest, world.number], names, numbers) if world.up else None
        if reply is not None and answers:
            self.ledger.answered(reply, sent_at, sent_at)
        else:
            self.ledger.failed()
            self.ledger.parted("gone", sent_at)


class World:
    """Some proxies, one store, one real clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.number = 0
        self.up = True
        self.store = FakeStore(60)
        self.admitted: list[float] = []
        self.proxies = [Proxy(self) for _ in range(PROXIES)]

    def pass_time(self, seconds: float) -> None:
        """Links ask four times a second while they are used."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + (0.25 if until - self.now < 3 else 1.0), until)
            for proxy in self.proxies:
                proxy.sync()

    def check(self) -> None:
        for first in self.admitted:
            assert sum(first <= when < first + 60 for when in self.admitted) <= CALLS


DEEDS = st.lists(
    st.tuples(
        st.integers(0, PROXIES - 1),
        st.sampled_from(
            ["call"] * 8 + ["burst", "end", "silent", "over", "wait", "minute", "clock", "restart", "away"]
        ),
        st.integers(0, 50),
    ),
    max_size=60,
)


def burst(world: World, proxy: Proxy, size: int) -> None:
    for _ in range(max(size, 1)):
        proxy.call()
    proxy.sync()


def away(world: World, proxy: Proxy, size: int) -> None:
    """All proxies lose the store, which comes back as it was, or empty."""
    world.pass_time(0.25)
    world.up = False
    world.pass_time(size)
    world.up = True
    if size % 2:
        world.store.restart()


def restart(world: World, proxy: Proxy, size: int) -> None:
    """The store forgets everything. What is taken after the last word of it is another test's matter."""
    world.pass_time(0.25)
    world.store.restart()


CARRY_OUT: dict[str, Callable[[World, Proxy, int], None]] = {
    "call": lambda world, proxy, size: burst(world, proxy, 1),
    "burst": burst,
    "end": lambda world, proxy, size: proxy.end(size),
    "over": lambda world, proxy, size: proxy.end(size + 20),
    "silent": lambda world, proxy, size: proxy.end(None),
    "wait": lambda world, proxy, size: world.pass_time(size / 10),
    "minute": lambda world, proxy, size: world.pass_time(58 + size / 10),
    "clock": lambda world, proxy, size: world.store.skip((size - 25) * 5),
    "restart": restart,
    "away": away,
}


def warm() -> World:
    """Proxies that know the store, after the minute in which an empty one grants nothing."""
    world = World()
    world.pass_time(64.0)
    assert all(proxy.ledger.standing is Standing.TOGETHER for proxy in world.proxies)
    return world


@given(DEEDS)
@settings(max_examples=100, deadline=None)
def test_never_more_than_n_over_all_proxies_whatever_happens(deeds: list[tuple[int, str, int]]) -> None:
    world = warm()
    for deed in deeds:
        CARRY_OUT[deed[1]](world, world.proxies[deed[0]], deed[2])
    world.pass_time(3.0)  # who waits for the store is told
    world.check()
    for proxy in world.proxies:
        while proxy.open:
            proxy.end(10)
        assert proxy.limiter.reserved == 0
    world.pass_time(130.0)
    assert all(not counter or not any(counter.values()) for counter in world.store.counters.values())
    world.proxies[0].call()
    world.proxies[0].sync()
    assert len(world.proxies[0].open) == 1, "after quiet a call fits"


def test_all_of_n_can_be_used_wherever_it_is_asked_for() -> None:
    world = warm()
    for number in range(CALLS):
        proxy = world.proxies[number % PROXIES]
        proxy.call()
        proxy.sync()
        proxy.end(5)
    assert len(world.admitted) == CALLS
    world.proxies[0].call()
    world.proxies[0].sync()
    assert len(world.admitted) == CALLS


def test_most_calls_ask_nobody() -> None:
    world = warm()
    limiter, proxy = world.proxies[0].limiter, world.proxies[0]
    rules, asked = Rules([Limit("endpoint", 100_000)], PROXIES), 0
    for number in range(400):
        world.now += 0.01
        before = len(world.admitted)
        limiter.reserve(rules, Asking(Principal("ada"), b"", {}), world.now, lambda: None)
        if number > 100 and proxy.ledger._waiting:
            asked += 1
        if number % 10 == 0 or proxy.ledger._waiting:
            proxy.sync()
        assert len(world.admitted) == before
    assert asked < 30


def test_a_lost_store_leaves_each_proxy_its_share() -> None:
    world = warm()
    world.up = False
    world.pass_time(62.0)
    for proxy in world.proxies:
        for _ in range(CALLS):
            proxy.call()
            proxy.end(1)
    assert len(world.admitted) == CALLS // PROXIES * PROXIES
    assert all(proxy.ledger.problem for proxy in world.proxies)


def test_in_the_first_minute_alone_a_proxy_grants_no_more_than_its_part_of_what_was_free() -> None:
    world = warm()
    for _ in range(CALLS):
        world.proxies[0].call()
        world.proxies[0].sync()
    world.pass_time(0.5)
    world.up = False
    world.pass_time(1.0)
    for proxy in world.proxies:
        proxy.call()
    assert len(world.admitted) == CALLS


def test_what_nobody_has_heard_of_before_a_loss_costs_at_most_the_other_half() -> None:
    world = warm()
    burst(world, world.proxies[0], CALLS)
    world.store.restart()
    for proxy in world.proxies:
        for _ in range(CALLS):
            proxy.call()
            proxy.sync()
    assert CALLS <= len(world.admitted) <= CALLS + (PROXIES - 1) * (CALLS // 2 // PROXIES)


def test_a_stream_keeps_its_reservation_in_the_store_as_long_as_it_runs() -> None:
    world = warm()
    proxy = world.proxies[0]
    proxy.call()
    proxy.sync()
    world.pass_time(200.0)
    counter = world.store.counters["tokens:endpoint:"]
    assert sum(counter.values()) == 20
    proxy.end(7)
    world.pass_time(0.5)
    assert sum(counter.values()) == 7


def test_who_meets_the_store_first_leaves_the_others_their_share() -> None:
    world = warm()
    away(world, world.proxies[0], 2)
    burst(world, world.proxies[0], 1)
    burst(world, world.proxies[0], 11)
    for other in world.proxies[1:]:
        for _ in range(CALLS):
            other.call()  # it has not heard yet that the store is back
    world.pass_time(3.0)
    world.check()
    assert all(proxy.ledger.standing is Standing.TOGETHER for proxy in world.proxies)
