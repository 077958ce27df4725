"""The compact form of a signed token (RFC 7515), read strictly: one text has one reading. Pure; used by `verifier.py`.

Nothing here is believed yet: the claims are read before the signature is checked, to know whose key should check it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, NoReturn

Json = Any

_MOST_BYTES = 16 * 1024
_HEADER_MEMBERS = frozenset(("alg", "kid", "typ", "cty", "x5t", "x5t#S256"))
"""Others change what a token means or bring their own key (crit, b64, zip, jwk, jku, x5u, x5c): refused."""
_TYPES = frozenset(("jwt", "at+jwt", "application/at+jwt"))


class BadToken(Exception):
    """A token that is not accepted. Without a text: nobody is told why."""


@dataclass(frozen=True, slots=True)
class Compact:
    """A token in its parts; `signed` is what `signature` signs."""

    alg: str
    kid: str
    """Empty when the token names no key."""
    claims: dict[str, Json]
    signed: bytes
    signature: bytes


def read_token(token: bytes) -> Compact:
    """A token's parts. BadToken."""
    if len(token) > _MOST_BYTES or token.count(b".") != 2:
        raise BadToken
    signed, _, last = token.rpartition(b".")
    first, _, middle = signed.partition(b".")
    header = _object(_decode(first))
    if not _HEADER_MEMBERS.issuperset(header):
        raise BadToken
    alg, kid, kind = header.get("alg"), header.get("kid", ""), header.get("typ", "JWT")
    if type(alg) is not str or type(kid) is not str or type(kind) is not str or kind.lower() not in _TYPES:
        raise BadToken
    return Compact(alg, kid, _object(_decode(middle)), signed, _decode(last))


def _decode(segment: bytes) -> bytes:
    """base64url without padding; only the one spelling that an encoder makes, or bits could change unnoticed."""
    try:
        raw = urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except ValueError:
        raise BadToken from None
    if not raw or urlsafe_b64encode(raw).rstrip(b"=") != segment:
        raise BadToken
    return raw


def _object(raw: bytes) -> dict[str, Json]:
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadToken from None
    if type(found) is not dict:
        raise BadToken
    return found


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadToken  # two readers could each take another one of them
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON
