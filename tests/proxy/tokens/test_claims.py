"""Whom the tokens of an identity provider name: the API server's claim mapping, and what it must never give."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.proxy.auth import Principal
from model_serving.proxy.tokens.verifier import TokenVerifier
from model_serving.proxy_config import Issuer
from tests.proxy.tokens.minting import NOW, Mint, cluster, ec_key, jwk, mint, rsa_key

URL = "https://login.example/realm"
CLAIMS = {"iss": URL, "aud": "app", "sub": "0a1b", "kubernetes.io": None}
EVERYBODY = "system:authenticated"


def caller(claims: dict[str, Any], **mapping: str) -> Principal | None:
    """Whom a token with these claims names, by an issuer with that mapping."""
    issuer = Issuer(URL, ["app", "model-serving"], [jwk(ec_key(), "k1")], **mapping)  # type: ignore[arg-type]
    token = Mint(ec_key(), "ES256", claims=CLAIMS | claims).token()
    known = TokenVerifier([cluster(), issuer]).authenticate(token.encode(), NOW)
    return known[0] if known else None


@pytest.mark.parametrize(
    ("claims", "mapping", "name", "groups"),
    [
        pytest.param({}, {}, "0a1b", set(), id="the subject by default"),
        pytest.param({"groups": ["a"]}, {}, "0a1b", set(), id="no groups unless a claim is named"),
        pytest.param({}, {"username_prefix": "oidc:"}, "oidc:0a1b", set(), id="a prefix"),
        pytest.param({"email": "a@b.c"}, {"username_claim": "email"}, "a@b.c", set(), id="another claim"),
        pytest.param(
            {"email": "a@b.c", "email_verified": True}, {"username_claim": "email"}, "a@b.c", set(), id="verified"
        ),
        pytest.param({"name": "Ada Ünal"}, {"username_claim": "name"}, "Ada Ünal", set(), id="any letters"),
        pytest.param({"roles": ["a", "b"]}, {"groups_claim": "roles"}, "0a1b", {"a", "b"}, id="groups"),
        pytest.param({"roles": "a"}, {"groups_claim": "roles"}, "0a1b", {"a"}, id="one group as a text"),
        pytest.param({"roles": []}, {"groups_claim": "roles"}, "0a1b", set(), id="no group"),
        pytest.param({}, {"groups_claim": "roles"}, "0a1b", set(), id="the claim is missing"),
        pytest.param(
            {"roles": ["a"]}, {"groups_claim": "roles", "groups_prefix": "x:"}, "0a1b", {"x:a"}, id="groups' prefix"
        ),
        pytest.param(
            {"roles": ["system:masters", "a"]}, {"groups_claim": "roles"}, "0a1b", {"a"},
            id="the cluster's own groups are not an issuer's to give",
        ),
    ],
)  # fmt: skip
def test_claims_are_mapped_as_configured(
    claims: dict[str, Any], mapping: dict[str, str], name: str, groups: set[str]
) -> None:
    assert caller(claims, **mapping) == Principal(name, frozenset(groups | {EVERYBODY}))


@pytest.mark.parametrize(
    ("claims", "mapping"),
    [
        pytest.param({"sub": None}, {}, id="no name"),
        pytest.param({"sub": ""}, {"username_prefix": "oidc:"}, id="an empty name"),
        pytest.param({"sub": ["0a1b"]}, {}, id="a name that is no text"),
        pytest.param({"sub": "a\tb"}, {}, id="control characters"),
        pytest.param({"sub": "\ud800"}, {}, id="half a character"),
        pytest.param({"sub": "system:admin"}, {}, id="a name of the cluster's"),
        pytest.param({"sub": "system:serviceaccount:a:b"}, {}, id="a ServiceAccount of the cluster's"),
        pytest.param({"sub": "admin"}, {"username_prefix": "system:"}, id="a name of the cluster's by prefix"),
        pytest.param({"email": "a@b.c", "email_verified": False}, {"username_claim": "email"}, id="not verified"),
        pytest.param(
            {"email": "a@b.c", "email_verified": "true"}, {"username_claim": "email"}, id="verified by a text"
        ),
        pytest.param({"roles": [1]}, {"groups_claim": "roles"}, id="a group that is no text"),
        pytest.param({"roles": [""]}, {"groups_claim": "roles"}, id="an empty group"),
        pytest.param({"roles": {"a": 1}}, {"groups_claim": "roles"}, id="groups that are no list"),
        pytest.param({"roles": [["a"]]}, {"groups_claim": "roles"}, id="groups within groups"),
        pytest.param({"aud": "other"}, {}, id="another audience"),
    ],
)
def test_claims_that_name_nobody(claims: dict[str, Any], mapping: dict[str, str]) -> None:
    assert caller(claims, **mapping) is None


def test_a_service_account_is_in_the_groups_that_the_api_server_gives_it() -> None:
    known = TokenVerifier([cluster(jwk(rsa_key(), "k1"))]).authenticate(mint().encode(), NOW)
    assert known is not None
    groups = {"system:serviceaccounts", "system:serviceaccounts:shop", EVERYBODY}
    assert known[0] == Principal("system:serviceaccount:shop:app", frozenset(groups))
    assert known[1] == NOW + 3600 + 60
