"""Who callers are, and the simple ways to know one: API keys, a router's users, and the word of a trusted router.

Signed tokens are in `tokens/`; `identity.py` asks all of them.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

PRINCIPAL = b"x-model-serving-principal"
GROUPS = b"x-model-serving-groups"
ROUTER_KEY = b"x-model-serving-router-key"
_REMEMBERED = 4096


class Principal(msgspec.Struct, frozen=True):
    """Who calls: a user by name (ServiceAccounts too) and the groups of that user."""

    name: str
    groups: frozenset[str] = frozenset()


Headers = Mapping[bytes, bytes]
Known = tuple[Principal, float]
"""A caller, and when that ends to be known: seconds since the epoch."""


class Authenticator(Protocol):
    """One way to know the owner of a bearer token."""

    def authenticate(self, token: bytes, wall: float) -> Known | None:
        """The owner at `wall`, seconds since the epoch; None when this authenticator does not know one."""


class TokenTable:
    """Knows callers by the hexadecimal SHA-256 of their bearer token: API keys, or the users of a router."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._principals = principals

    def authenticate(self, token: bytes, wall: float) -> Known | None:
        """The owner of the token, for as long as this table is in force."""
        principal = self._principals.get(hashlib.sha256(token).hexdigest())
        return None if principal is None else (principal, math.inf)


class NamedPrincipals:
    """The principals that a router names in headers; remembered, because the same ones come again and again."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], Principal] = {}

    def of(self, headers: Headers) -> Principal | None:
        """Whom the headers name; None when it is nobody."""
        name = headers.get(PRINCIPAL)
        if not name:
            return None
        raw = (name, headers.get(GROUPS, b""))
        principal = self._known.get(raw)
        if principal is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            principal = self._known[raw] = decode_principal(*raw)
        return principal


class TrustedRouter:
    """Believes the principal headers of whoever shows the key that router and proxies of one machine share."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._named = NamedPrincipals()

    def authenticate(self, headers: Headers) -> Principal | None:
        """The principal that the router names; None when the key is missing or wrong."""
        shown = headers.get(ROUTER_KEY)
        if not self._key or shown is None or not hmac.compare_digest(shown, self._key):
            return None
        return self._named.of(headers)


def encode_principal(principal: Principal) -> tuple[bytes, bytes]:
    """The values of the principal and groups headers: percent-encoded UTF-8, groups joined by commas."""
    groups = ",".join(quote(group, safe="") for group in sorted(principal.groups))
    return quote(principal.name, safe="").encode(), groups.encode()


def decode_principal(name: bytes, groups: bytes) -> Principal:
    """The reverse of `encode_principal`."""
    parts = groups.decode("latin-1").split(",")
    return Principal(
        unquote(name.decode("latin-1")), frozenset(unquote(part.strip()) for part in parts if part.strip())
    )
