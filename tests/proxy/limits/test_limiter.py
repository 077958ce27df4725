"""Limits: at most n in any 60 seconds, whatever the calls' times."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_serving.proxy.auth import Principal
from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy.limits import Asking, Limiter, Rules
from model_serving.proxy_config import Limit

STEPS = st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 30), st.sampled_from([1.0, 59.0, 60.0, 60.5, 61.0]))


def admit(limiter: Limiter, limits: list[Limit], user: str, now: float) -> float | None:
    """None when admitted, else the seconds to wait."""
    try:
        limiter.reserve(Rules(limits), Asking(Principal(user), b"", {}), now, lambda: None)
    except LimitExceeded as error:
        assert error.retry_after is not None
        return error.retry_after
    return None


@given(st.integers(1, 5), st.lists(STEPS, max_size=120), st.floats(0, 1e6))
@settings(max_examples=300, deadline=None)
def test_never_more_than_n_in_any_60_seconds(calls: int, steps: list[float], start: float) -> None:
    limiter, now, admitted = Limiter(), start, []
    for step in steps:
        now += step
        if admit(limiter, [Limit("user", calls)], "ada", now) is None:
            admitted.append(now)
        limiter.sweep(now)
    for first in admitted:
        assert sum(first <= time < first + 60 for time in admitted) <= calls


@given(st.integers(1, 5), st.lists(STEPS, max_size=60), st.floats(0, 1e6))
@settings(max_examples=200, deadline=None)
def test_who_waits_as_told_is_admitted(calls: int, steps: list[float], start: float) -> None:
    limiter, now, limits = Limiter(), start, [Limit("endpoint", calls)]
    for step in steps:
        now += step
        wait = admit(limiter, limits, "ada", now)
        if wait is not None:
            assert 0 < wait <= 61
            now += wait + 1e-6
            assert admit(limiter, limits, "ada", now) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), STEPS), max_size=80))
@settings(max_examples=200, deadline=None)
def test_several_limits_hold_together_and_refused_calls_count_in_none(calls: list[tuple[str, float]]) -> None:
    limiter, now = Limiter(), 100.0
    limits = [Limit("user", 2), Limit("endpoint", 4)]
    admitted: list[tuple[str, float]] = []
    for user, step in calls:
        now += step
        recent = [(who, when) for who, when in admitted if when > now - 60]
        before = (sum(who == user for who, _ in recent), len(recent))
        if admit(limiter, limits, user, now) is None:
            admitted.append((user, now))
            assert before[0] < 2
            assert before[1] < 4
        else:  # rounded to the safe side: what is a second older may still count
            older = [(who, when) for who, when in admitted if when > now - 61]
            assert sum(who == user for who, _ in older) >= 2 or len(older) >= 4


def test_the_full_number_is_admitted_at_once_and_again_after_61_seconds() -> None:
    limiter, limits = Limiter(), [Limit("user", 3)]
    assert [admit(limiter, limits, "ada", 10.9) for _ in range(3)] == [None] * 3
    assert admit(limiter, limits, "ada", 70.9) is not None
    assert [admit(limiter, limits, "ada", 71.0) for _ in range(3)] == [None] * 3


def test_zero_blocks() -> None:
    assert admit(Limiter(), [Limit("endpoint", 0)], "ada", 5.0) == 60


def test_a_changed_number_applies_to_the_same_window() -> None:
    limiter = Limiter()
    assert admit(limiter, [Limit("user", 5)], "ada", 0.0) is None
    assert admit(limiter, [Limit("user", 1)], "ada", 1.0) is not None
    assert admit(limiter, [Limit("user", 2)], "ada", 1.0) is None


def test_the_same_key_twice_means_the_smaller_number_and_counts_once() -> None:
    limiter, limits = Limiter(), [Limit("user", 3), Limit("user", 2)]
    assert [admit(limiter, limits, "ada", 0.0) is None for _ in range(3)] == [True, True, False]


def test_windows_without_calls_are_forgotten() -> None:
    limiter = Limiter()
    for number in range(100):
        admit(limiter, [Limit("user", 3)], f"u{number}", 0.0)
    limiter.sweep(30.0)
    assert len(limiter._windows) == 100
    limiter.sweep(82.0)
    assert len(limiter._windows) == 0


@pytest.mark.parametrize(
    ("key", "name", "words"),
    [("user", "", "each user"), ("endpoint", "", "the endpoint"), ("user_group", "eng", "the group eng")],
)
def test_the_message_begins_with_the_code_and_says_whose_limit_it_is(key: str, name: str, words: str) -> None:
    limiter, rules = Limiter(), Rules([Limit(key, 1, principal=name)])
    asking = Asking(Principal("ada", frozenset({"eng"})), b"", {})
    limiter.reserve(rules, asking, 0.0, lambda: None)
    with pytest.raises(LimitExceeded, match=f"^REQUEST_LIMIT_EXCEEDED: {words} may make 1 calls per minute"):
        limiter.reserve(rules, asking, 0.0, lambda: None)
