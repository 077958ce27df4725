"""Reservations: never more than n in any 60 seconds, whatever ends when; and nothing stays reserved."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_serving.proxy.auth import Principal
from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy.limits import Asking, Limiter, Reservation, Rules
from model_serving.proxy_config import Limit

PAUSES = st.one_of(
    st.just(0.0), st.floats(0, 0.5), st.floats(0, 30), st.sampled_from([1.0, 59.0, 60.0, 61.0, 200.0, -3.0, -100.0])
)
"""Between two happenings; a clock may stand still or be set back."""
DEEDS = st.lists(
    st.tuples(
        PAUSES,
        st.sampled_from(["call", "call", "call", "end", "end", "silent", "fail", "unsent", "limit"]),
        st.integers(0, 40),
    ),
    max_size=150,
)


def asking(tokens: int) -> Asking:
    return Asking(Principal("ada"), b"", {"max_tokens": msgspec.Raw(b"%d" % max(tokens - 1, 1))})


class Book:
    """Runs deeds and keeps its own account of what was admitted and used."""

    def __init__(self) -> None:
        self.limiter = Limiter()
        self.clock, self.now = 1000.0, 0.0
        self.calls, self.tokens = 4, 100
        self.rules = Rules([Limit("user", self.calls), Limit("endpoint", tokens=self.tokens)])
        self.open: list[tuple[Reservation, float, int]] = []
        self.admitted: list[float] = []
        self.used: list[tuple[float, int]] = []

    def do(self, pause: float, deed: str, size: int) -> None:
        self.clock += pause
        self.now = max(self.now, self.clock)
        if deed == "call":
            self.call(size)
        elif deed == "limit":
            self.calls, self.tokens = 1 + size % 5, 50 + size
            self.rules = Rules([Limit("user", self.calls), Limit("endpoint", tokens=self.tokens)])
        elif self.open:
            reservation, when, reserved = self.open.pop(size % len(self.open))
            used = {"end": min(size, reserved), "silent": None, "fail": 0, "unsent": 0}[deed]
            reservation.settle(used, self.clock, sent=deed != "unsent")
            reservation.settle(1000, self.clock)  # a second time does nothing
            if deed == "unsent":
                self.admitted.remove(when)
            self.used.append((self.now, reserved if used is None else used))
        self.limiter.sweep(self.clock)

    def call(self, size: int) -> None:
        before = self.limiter.reserved
        try:
            reservation = self.limiter.reserve(self.rules, asking(size), self.clock, lambda: None)
        except LimitExceeded as error:
            assert error.retry_after and error.retry_after > 0
            return
        assert reservation is not None
        self.admitted.append(self.now)
        self.open.append((reservation, self.now, self.limiter.reserved - before))
        recent = [when for when in self.admitted if when > self.now - 60]
        counted = sum(used for when, used in self.used if when > self.now - 60)
        assert len(recent) <= self.calls
        assert counted + self.limiter.reserved <= self.tokens


@given(DEEDS)
@settings(max_examples=150, deadline=None)
def test_any_interleaving_stays_within_the_limits_and_ends_with_nothing_reserved(
    deeds: list[tuple[float, str, int]],
) -> None:
    book = Book()
    for deed in deeds:
        book.do(*deed)
    while book.open:
        book.do(0.0, "end", 0)
    assert book.limiter.reserved == 0
    book.do(62.0 + max(book.now - book.clock, 0), "call", 10)
    assert len(book.open) == 1, "after quiet a call fits"


def test_what_was_used_beyond_the_reservation_is_a_debt() -> None:
    limiter, rules = Limiter(), Rules([Limit("user", tokens=100)])
    first = limiter.reserve(rules, asking(10), 0.0, lambda: None)
    assert first is not None
    first.settle(170, 30.0)
    with pytest.raises(LimitExceeded) as refused:
        limiter.reserve(rules, asking(10), 31.0, lambda: None)
    assert refused.value.retry_after == 60
    assert limiter.reserve(rules, asking(10), 91.0, lambda: None) is not None


def test_a_reservation_holds_as_long_as_the_call_runs() -> None:
    limiter, rules = Limiter(), Rules([Limit("user", tokens=100)])
    stream = limiter.reserve(rules, asking(100), 0.0, lambda: None)
    with pytest.raises(LimitExceeded):
        limiter.reserve(rules, asking(10), 280.0, lambda: None)
    assert stream is not None
    stream.settle(40, 290.0)
    assert limiter.reserve(rules, asking(60), 290.0, lambda: None) is not None


def test_a_call_that_is_estimated_above_the_limit_is_admitted_alone() -> None:
    limiter, rules = Limiter(), Rules([Limit("user", tokens=100)])
    assert limiter.reserve(rules, asking(5000), 0.0, lambda: None) is not None
    with pytest.raises(LimitExceeded):
        limiter.reserve(rules, asking(1), 0.0, lambda: None)


def test_a_call_that_was_never_sent_leaves_no_trace() -> None:
    limiter, rules = Limiter(), Rules([Limit("user", 1, 100)])
    for now in (0.0, 0.5, 30.0):
        reservation = limiter.reserve(rules, asking(100), now, lambda: None)
        assert reservation is not None
        reservation.settle(None, now + 0.2, sent=False)
    assert limiter.reserved == 0
