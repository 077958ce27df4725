"""Public keys out of a JWKS (RFC 7517): the ones that proxies can use, and of these only what is public. Pure.

Called by `renewal.py` and for the keys that the setting holds.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from typing import Any

MOST_KEYS = 32
_LEAST_MODULUS_BYTES = 256
_COORDINATE_BYTES = 32
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
_LONGEST_ID = 256
_LONGEST_MEMBER = 4096


class KeysError(Exception):
    """A document that holds no key for us; the text says what is wrong with it."""


def public_keys(document: Any) -> list[dict[str, str]]:
    """The keys for RS256 and ES256 signatures, ordered by id. KeysError when there is none."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise KeysError("it is no JWKS: a list named keys is missing")
    found = [key for key in map(_public, listed) if key is not None]
    if not found:
        raise KeysError("it holds no key for RS256 (2048 bits or more) or ES256 signatures")
    if len(found) > MOST_KEYS:
        raise KeysError(f"it holds more than {MOST_KEYS} keys")
    return sorted(found, key=lambda key: (key.get("kid", ""), key["kty"], key.get("n", key.get("x", ""))))


def _public(key: Any) -> dict[str, str] | None:
    """The public members of a key; None when it is no use to us."""
    kind = key.get("kty") if isinstance(key, dict) else None
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return None
    if key.get("use", "sig") != "sig" or key.get("alg", _ALGORITHMS[kind]) != _ALGORITHMS[kind]:
        return None
    members = {name: key.get(name) for name in _MEMBERS[kind]}
    if not all(isinstance(value, str) and len(value) <= _LONGEST_MEMBER for value in members.values()):
        return None
    kid = key.get("kid", "")
    if not isinstance(kid, str) or len(kid) > _LONGEST_ID or not _is_usable(kind, members):
        return None
    return {"kty": kind, "alg": _ALGORITHMS[kind], **({"kid": kid} if kid else {}), **members}


def _is_usable(kind: str, members: dict[str, str]) -> bool:
    if kind == "RSA":
        return _size(members["n"]) >= _LEAST_MODULUS_BYTES and _size(members["e"]) > 0
    return members["crv"] == "P-256" and _size(members["x"]) == _size(members["y"]) == _COORDINATE_BYTES


def _size(text: str) -> int:
    """How many bytes a base64url text stands for; 0 when it is none."""
    try:
        return len(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        return 0
