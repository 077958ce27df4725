"""What a token claims: whether it is meant for us and now, and whom it names. Pure; used by `verifier.py`.

The mapping of claims to user and groups is that of the API server's structured authentication.
"""

from __future__ import annotations

import re
from typing import Any

from model_serving.proxy.auth import Known, Principal
from model_serving.proxy.tokens.compact import BadToken
from model_serving.proxy_config import Issuer

Json = Any

SKEW_SECONDS = 60.0
"""How far an issuer's clock and ours may be apart."""
AUTHENTICATED = "system:authenticated"
"""The group of everybody whom a token names, as at the API server."""

_LATEST = 1e11
"""No moment is so far from the epoch; later ones only break calculations."""
_RESERVED = "system:"
_ACCOUNT = re.compile(
    r"system:serviceaccount:([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?):[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?"
).fullmatch


def check_claims(claims: dict[str, Json], issuer: Issuer, wall: float) -> Known:
    """Whom a token of `issuer` names, and until when, at `wall` seconds since the epoch. BadToken."""
    _check_audience(claims.get("aud"), issuer)
    expires = _moment(claims.get("exp")) + SKEW_SECONDS
    if expires <= wall:
        raise BadToken
    for name in ("nbf", "iat"):
        if name in claims and _moment(claims[name]) - SKEW_SECONDS > wall:
            raise BadToken
    return (_account(claims) if issuer.service_accounts else _user(claims, issuer)), expires


def _check_audience(value: Json, issuer: Issuer) -> None:
    audiences = [value] if type(value) is str else value
    if type(audiences) is not list or not all(type(audience) is str for audience in audiences):
        raise BadToken
    if not any(audience and audience in issuer.audiences for audience in audiences):
        raise BadToken


def _moment(value: Json) -> float:
    if type(value) not in (int, float) or not 0 <= value < _LATEST:
        raise BadToken
    return float(value)


def _account(claims: dict[str, Json]) -> Principal:
    name = _text(claims.get("sub"))
    found = _ACCOUNT(name)
    if found is None:
        raise BadToken
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{found[1]}", AUTHENTICATED)
    return Principal(name, frozenset(groups))


def _user(claims: dict[str, Json], issuer: Issuer) -> Principal:
    name = issuer.username_prefix + _text(claims.get(issuer.username_claim))
    if name.startswith(_RESERVED):
        raise BadToken  # only the cluster itself makes such names
    if issuer.username_claim == "email" and claims.get("email_verified", True) is not True:
        raise BadToken
    groups = {issuer.groups_prefix + group for group in _groups(claims, issuer)}
    return Principal(name, frozenset(g for g in groups if not g.startswith(_RESERVED)) | {AUTHENTICATED})


def _groups(claims: dict[str, Json], issuer: Issuer) -> list[str]:
    value = claims.get(issuer.groups_claim) if issuer.groups_claim else None
    if value is None:
        return []
    values = [value] if type(value) is str else value
    if type(values) is not list:
        raise BadToken
    return [_text(group) for group in values]


def _text(value: Json) -> str:
    if type(value) is not str or not value or not value.isprintable():
        raise BadToken
    return value
