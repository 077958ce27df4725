"""Who calls: authenticators over a request's headers, all offline.

A tuple of authenticators is asked in order; the first that knows the caller wins. A further kind of token is a
further one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

from model_serving.proxy.errors import Unauthenticated

PRINCIPAL = b"x-model-serving-principal"
GROUPS = b"x-model-serving-groups"
ROUTER_KEY = b"x-model-serving-router-key"
_REMEMBERED = 4096


class Principal(msgspec.Struct, frozen=True):
    """Who calls: a user by name (ServiceAccounts too) and the groups of that user."""

    name: str
    groups: frozenset[str] = frozenset()


Headers = Mapping[bytes, bytes]


class Authenticator(Protocol):
    """One way to know a caller."""

    def authenticate(self, headers: Headers) -> Principal | None:
        """The caller; None when this authenticator does not know one."""


def authenticate(authenticators: Sequence[Authenticator], headers: Headers) -> Principal:
    """The caller, by the first authenticator that knows one. Unauthenticated."""
    for authenticator in authenticators:
        principal = authenticator.authenticate(headers)
        if principal is not None:
            return principal
    if not headers.get(b"authorization"):
        raise Unauthenticated("no credentials: send the header Authorization: Bearer TOKEN")
    raise Unauthenticated("the token is not known here: send a valid one as Authorization: Bearer TOKEN")


def bearer_digest(headers: Headers) -> str:
    """The hexadecimal SHA-256 of the bearer token; empty when there is none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    token = token.strip()
    if not token or scheme.lower() != b"bearer":
        return ""
    return hashlib.sha256(token).hexdigest()


class TokenTable:
    """Knows callers by the digest of their bearer token: API keys, or the users of a router."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._principals = principals

    def authenticate(self, headers: Headers) -> Principal | None:
        """The owner of the bearer token."""
        return self._principals.get(bearer_digest(headers))


class TrustedRouter:
    """Believes the principal headers of whoever shows the key that router and proxies share."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._known: dict[tuple[bytes, bytes], Principal] = {}

    def authenticate(self, headers: Headers) -> Principal | None:
        """The principal that the router names; None when the key is missing or wrong."""
        shown = headers.get(ROUTER_KEY)
        name = headers.get(PRINCIPAL)
        if not self._key or shown is None or not name or not hmac.compare_digest(shown, self._key):
            return None
        raw = (name, headers.get(GROUPS, b""))
        principal = self._known.get(raw)
        if principal is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            principal = self._known[raw] = decode_principal(*raw)
        return principal


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
