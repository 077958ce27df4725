"""Who calls: keys, the word of a trusted router, and one cache over all ways to know a caller."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_serving.proxy.auth import (
    GROUPS,
    PRINCIPAL,
    ROUTER_KEY,
    Known,
    Principal,
    TokenTable,
    TrustedRouter,
    decode_principal,
    encode_principal,
)
from model_serving.proxy.errors import PermissionDenied, ProxyError, Unauthenticated
from model_serving.proxy.identity import MAX_REFUSED, MAX_SEEN, MAX_TOKEN_BYTES, REFUSED_SECONDS, Identity

ADA = Principal("ada", frozenset({"team"}))
FRONT = "system:serviceaccount:ns:model-serving-workspace"
TABLE = TokenTable(
    {
        hashlib.sha256(b"t1").hexdigest(): ADA,
        hashlib.sha256(b"front").hexdigest(): Principal(FRONT),
    }
)
NOW = 1_000_000.0


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + token.encode()}


def local() -> Identity:
    """A proxy of the local platform."""
    identity = Identity((TABLE,), router="")
    identity.trust(TrustedRouter("k"))
    return identity


class Counting:
    """Knows every token that starts with "good" until a moment, and counts how often it was asked."""

    def __init__(self, until: float = math.inf) -> None:
        self.asked = 0
        self.until = until

    def authenticate(self, token: bytes, wall: float) -> Known | None:
        self.asked += 1
        return (Principal(token.decode()), self.until) if token.startswith(b"good") and wall < self.until else None


@given(st.text(min_size=1), st.frozensets(st.text(min_size=1), max_size=4))
def test_principals_survive_the_way_through_headers(name: str, groups: frozenset[str]) -> None:
    try:
        principal = Principal(name, groups)
        raw = encode_principal(principal)
    except UnicodeEncodeError:  # a lone surrogate is no text
        return
    assert b"," not in raw[0]
    assert all(0x20 < byte < 0x7F for byte in raw[0] + raw[1])
    assert decode_principal(*raw) == principal


@pytest.mark.parametrize(
    "headers",
    [
        {}, {b"authorization": b"t1"}, bearer("t2"), {b"authorization": b"Basic t1"}, {b"authorization": b""},
        {b"authorization": b"Bearer"}, {b"authorization": b"Bearer "}, bearer("t1 t1"), bearer("x" * 70_000),
        {PRINCIPAL: b"ada"}, {PRINCIPAL: b"ada", ROUTER_KEY: b""}, {PRINCIPAL: b"", ROUTER_KEY: b"k"},
        {ROUTER_KEY: b"k"}, {PRINCIPAL: b"ada", ROUTER_KEY: b"wrong"},
    ],
    ids=lambda headers: b",".join(k + b"=" + v[:16] for k, v in headers.items()).decode() or "nothing",
)  # fmt: skip
def test_everybody_else_is_unknown(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated):
        local().of(headers, NOW)


def test_an_empty_router_key_trusts_nobody() -> None:
    assert TrustedRouter("").authenticate({PRINCIPAL: b"ada", ROUTER_KEY: b""}) is None


def test_the_shared_key_names_the_caller_whoever_else_is_shown() -> None:
    named = {PRINCIPAL: b"bob", GROUPS: b"a,b%2Cc", ROUTER_KEY: b"k"}
    assert local().of(named | bearer("t1"), NOW) == Principal("bob", frozenset({"a", "b,c"}))
    assert local().of(named, NOW).name == "bob"


@pytest.mark.parametrize(
    ("router", "token", "extra", "outcome"),
    [
        pytest.param(FRONT, "front", {PRINCIPAL: b"bob"}, "bob", id="the router names a caller"),
        pytest.param(FRONT, "front", {}, FRONT, id="the router alone is itself"),
        pytest.param(FRONT, "front", {GROUPS: b"admins"}, 403, id="groups of nobody"),
        pytest.param(FRONT, "front", {PRINCIPAL: b""}, 403, id="an empty name"),
        pytest.param(FRONT, "t1", {PRINCIPAL: b"bob"}, 403, id="another caller names one"),
        pytest.param(FRONT, "t1", {PRINCIPAL: b"ada"}, 403, id="even itself"),
        pytest.param(FRONT, "t1", {GROUPS: b"admins"}, 403, id="another caller claims groups"),
        pytest.param(FRONT, "t2", {PRINCIPAL: b"bob"}, 401, id="a stranger names one"),
        pytest.param(FRONT, "t1", {PRINCIPAL: b"bob", ROUTER_KEY: b"x"}, 403, id="a guessed key"),
        pytest.param("", "front", {PRINCIPAL: b"bob"}, 403, id="the policy names no router"),
        pytest.param(None, "t1", {PRINCIPAL: b"bob"}, "ada", id="at the router itself they are ignored"),
    ],
)
def test_principal_headers_count_from_the_router_alone(
    router: str | None, token: str, extra: dict[bytes, bytes], outcome: str | int
) -> None:
    identity = Identity((TABLE,), router=router)
    for _ in range(2):  # unseen and seen
        try:
            found: str | int = identity.of(bearer(token) | extra, NOW).name
        except ProxyError as error:
            found = error.status
        assert found == outcome


def test_a_caller_is_looked_up_once_until_its_token_ends() -> None:
    issuer = Counting(until=NOW + 10)
    identity = Identity((TABLE, issuer))
    assert [identity.of(bearer("good"), NOW + second).name for second in range(10)] == ["good"] * 10
    assert issuer.asked == 1
    with pytest.raises(Unauthenticated):
        identity.of(bearer("good"), NOW + 10)


def test_a_change_of_what_is_believed_acts_at_once() -> None:
    identity = Identity((TABLE,), router=FRONT)
    identity.of(bearer("t1"), NOW)
    identity.replace((TokenTable({}),), router=FRONT)
    with pytest.raises(Unauthenticated):
        identity.of(bearer("t1"), NOW)
    identity.replace((TABLE,), router=FRONT)
    assert identity.of(bearer("t1"), NOW) is ADA
    identity.replace((TABLE,), router="")
    with pytest.raises(PermissionDenied):
        identity.of(bearer("front") | {PRINCIPAL: b"bob"}, NOW)


def test_a_refused_token_is_asked_for_again_after_a_moment_only() -> None:
    issuer = Counting()
    identity = Identity((issuer,))
    for wall in (NOW, NOW + REFUSED_SECONDS / 2, NOW + REFUSED_SECONDS, NOW - 3600):
        with pytest.raises(Unauthenticated):
            identity.of(bearer("bad"), wall)
    assert issuer.asked == 3, "the clock may be set back"


def test_what_is_remembered_is_bounded() -> None:
    identity = Identity((Counting(),))
    for number in range(MAX_SEEN + 500):
        identity.of(bearer(f"good-{number}"), NOW)
    for number in range(MAX_REFUSED + 50):
        with pytest.raises(Unauthenticated):
            identity.of(bearer(f"bad-{number}"), NOW)
    assert len(identity._seen) == MAX_SEEN
    assert len(identity._refused) <= MAX_REFUSED
    router = TrustedRouter("k")
    for number in range(10_000):
        router.authenticate({PRINCIPAL: b"u%d" % number, ROUTER_KEY: b"k"})
    assert len(router._named._known) <= 4096


def test_no_token_lies_in_memory() -> None:
    identity = Identity((Counting(),))
    identity.of(bearer("good-secret"), NOW)
    with pytest.raises(Unauthenticated):
        identity.of(bearer("bad-secret"), NOW)
    assert b"secret" not in b"".join([*identity._seen, *identity._refused])


def test_an_oversized_token_is_not_even_looked_at() -> None:
    issuer = Counting()
    identity = Identity((issuer,))
    assert identity.of(bearer("good" + "x" * (MAX_TOKEN_BYTES - 4)), NOW)
    with pytest.raises(Unauthenticated):
        identity.of(bearer("good" + "x" * (MAX_TOKEN_BYTES - 3)), NOW)
    assert issuer.asked == 1
