"""Which limits count for whom, what a call is estimated at, and what callers are told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from model_serving.proxy.auth import Principal
from model_serving.proxy.call import CHAT, EMBEDDINGS
from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy.limits import Asking, Limiter, Reservation, Rules
from model_serving.proxy.limits.estimate import DEFAULT_COMPLETION_TOKENS, estimate
from model_serving.proxy_config import Limit

BATCH = "system:serviceaccount:gen-ai:batch"
LIMITS = [
    Limit("endpoint", 1000),
    Limit("user", 10, 5000),
    Limit("user", 30, principal="ada"),
    Limit("service_principal", 40, principal=BATCH),
    Limit("user_group", 20, principal="red"),
    Limit("user_group", 25, principal="blue"),
]
ENDPOINT = ("calls:endpoint:", 1000)

PRECEDENCE = [
    pytest.param("bob", (), [ENDPOINT, ("calls:user:bob", 10)], [], id="nobody in particular: the default of users"),
    pytest.param("ada", (), [ENDPOINT, ("calls:user:ada", 30)], [], id="a named user: the own limit"),
    pytest.param("ada", ("red",), [ENDPOINT, ("calls:user:ada", 30)], [], id="a named user in a limited group"),
    pytest.param(BATCH, ("red",), [ENDPOINT, (f"calls:user:{BATCH}", 40)], [], id="a named ServiceAccount"),
    pytest.param("bob", ("red",), [ENDPOINT, ("calls:group:red", 20)], [], id="a member: the group's, shared"),
    pytest.param("bob", ("red", "blue", "x"), [ENDPOINT], [20, 25], id="a member of two limited groups: either"),
    pytest.param("bob", ("green",), [ENDPOINT, ("calls:user:bob", 10)], [], id="a member of no limited group"),
]


@pytest.mark.parametrize(("name", "groups", "always", "either"), PRECEDENCE)
def test_precedence(name: str, groups: tuple[str, ...], always: list[tuple[str, int]], either: list[int]) -> None:
    calls, tokens = Rules(LIMITS).of(Principal(name, frozenset(groups)))
    assert [(term.counter, term.amount) for term in calls.always] == always
    assert sorted(term.amount for term in calls.either) == either
    assert [term.counter for term in tokens.always] == [f"tokens:user:{name}"], "a measure of its own"


def test_the_owner_of_an_api_key_is_a_service_principal_by_name() -> None:
    rules = Rules([Limit("service_principal", 3, principal="robot"), Limit("user", 1)])
    assert [term.amount for term in rules.of(Principal("robot"))[0].always] == [3]


def test_two_limits_of_one_kind_are_one_window_with_the_smaller_number() -> None:
    rules = Rules([Limit("user", 9, principal="ada"), Limit("service_principal", 7, principal="ada")])
    assert [term.amount for term in rules.of(Principal("ada"))[0].always] == [7]


def count(limits: list[Limit], *groups: str, name: str = "bob", limiter: Limiter | None = None) -> int:
    limiter, admitted, rules = limiter or Limiter(), 0, Rules(limits)
    try:
        while admitted < 50:
            limiter.reserve(rules, Asking(Principal(name, frozenset(groups)), b"", {}), 5.0, lambda: None)
            admitted += 1
    except LimitExceeded:
        pass
    return admitted


def test_a_groups_limit_is_shared_by_its_members() -> None:
    limiter, limits = Limiter(), [Limit("user_group", 5, principal="red")]
    assert count(limits, "red", name="ada", limiter=limiter) == 5
    assert count(limits, "red", name="bob", limiter=limiter) == 0


def test_who_is_in_two_groups_uses_what_either_has_left_and_no_group_gives_more_than_its_limit() -> None:
    limiter = Limiter()
    limits = [Limit("user_group", 5, principal="red"), Limit("user_group", 3, principal="blue")]
    assert count(limits, "red", name="ada", limiter=limiter) == 5
    assert count(limits, "red", "blue", name="bob", limiter=limiter) == 3
    assert count(limits, "blue", name="cyd", limiter=limiter) == 0


ESTIMATES = [
    pytest.param(CHAT, 8, {}, 2 + DEFAULT_COMPLETION_TOKENS, id="no bound: the default"),
    pytest.param(CHAT, 9, {"max_tokens": 10}, 3 + 10, id="max_tokens; bytes are rounded up"),
    pytest.param(CHAT, 4, {"max_tokens": 10, "max_completion_tokens": 7}, 8, id="max_completion_tokens first"),
    pytest.param(CHAT, 4, {"max_tokens": 10, "n": 3}, 31, id="n answers"),
    pytest.param(CHAT, 4, {"max_tokens": -100000}, 1 + DEFAULT_COMPLETION_TOKENS, id="negative"),
    pytest.param(CHAT, 4, {"max_tokens": "all"}, 1 + DEFAULT_COMPLETION_TOKENS, id="not a number"),
    pytest.param(CHAT, 4, {"max_tokens": None, "n": 0}, 1 + DEFAULT_COMPLETION_TOKENS, id="null, and no answers"),
    pytest.param(CHAT, 4, {"max_tokens": 10**18}, 1 + 10**9, id="absurd"),
    pytest.param(EMBEDDINGS, 40, {"max_tokens": 10}, 10, id="embeddings have no answer"),
    pytest.param(EMBEDDINGS, 0, {}, 1, id="at least one"),
]


@pytest.mark.parametrize(("task", "size", "body", "expected"), ESTIMATES)
def test_the_estimate(task: str, size: int, body: dict[str, Any], expected: int) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(body), type=dict[str, msgspec.Raw])
    assert estimate(task, b"x" * size, fields) == expected


def asked(limits: list[Limit], body: bytes = b"", parts: int = 1, limiter: Limiter | None = None) -> Reservation:
    fields = {"max_tokens": msgspec.Raw(b"10")}
    found = (limiter or Limiter()).reserve(
        Rules(limits, parts), Asking(Principal("ada"), body, fields), 7.2, lambda: None
    )
    assert found is not None
    return found


HEADS = [
    pytest.param([Limit("user", 5)], {"requests": ("5", "4", "1m1s")}, id="calls"),
    pytest.param([Limit("user", tokens=100)], {"tokens": ("100", "80", "1m1s")}, id="tokens"),
    pytest.param([Limit("user", 5), Limit("endpoint", 3)], {"requests": ("3", "2", "1m1s")}, id="the scarcest"),
    pytest.param([Limit("user", 5, 100)], {"requests": ("5", "4", "1m1s"), "tokens": ("100", "80", "1m1s")}, id="both"),
    pytest.param([Limit("user", 5, principal="bob")], {}, id="somebody else's"),
]


@pytest.mark.parametrize(("limits", "told"), HEADS)
def test_an_admitted_call_is_told_what_remains(limits: list[Limit], told: dict[str, tuple[str, str, str]]) -> None:
    lines = [line.partition(": ") for line in asked(limits, b"x" * 40).head.decode().splitlines()]
    expected = {
        f"x-ratelimit-{word}-{what}": value
        for what, values in told.items()
        for word, value in zip(("limit", "remaining", "reset"), values, strict=True)
    }
    assert {name: value for name, _, value in lines} == expected


def test_with_several_proxies_and_no_store_each_tells_and_grants_its_share() -> None:
    limiter, limits = Limiter(), [Limit("user", 10)]
    assert b"x-ratelimit-limit-requests: 3\r\n" in asked(limits, parts=3, limiter=limiter).head
    rules = Rules(limits, 3)
    asking = Asking(Principal("ada"), b"", {})
    for _ in range(2):
        assert limiter.reserve(rules, asking, 8.0, lambda: None) is not None
    with pytest.raises(LimitExceeded, match="10 calls per minute, 3 of them through each of 3 proxies: the next one"):
        limiter.reserve(rules, asking, 8.0, lambda: None)


def test_a_refused_call_is_told_the_limit_and_when_to_come_back() -> None:
    limiter, limits = Limiter(), [Limit("endpoint", 100), Limit("user", tokens=30)]
    asked(limits, b"x" * 40, limiter=limiter).settle(25, 8.0)
    with pytest.raises(LimitExceeded) as refused:
        asked(limits, b"x" * 40, limiter=limiter)
    headers = dict(refused.value.headers())
    assert headers == {
        b"retry-after": b"62",
        b"x-ratelimit-limit-tokens": b"30",
        b"x-ratelimit-remaining-tokens": b"5",
        b"x-ratelimit-reset-tokens": b"1m2s",
    }
    assert "each user may use 30 tokens per minute: room for the 20 of this call in 62 s" in refused.value.message
