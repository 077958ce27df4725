"""Who calls: one cache over all ways to know a caller. Asked by both pipelines once per call, all offline.

A caller that was seen costs one digest and one look-up. The cache is keyed by digest, so that no token lies in memory,
bounded, and emptied whenever anything changes that an entry may rest on: a removed key ends at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from model_serving.bearer import bearer_token
from model_serving.proxy.auth import (
    GROUPS,
    PRINCIPAL,
    ROUTER_KEY,
    Authenticator,
    Headers,
    Known,
    NamedPrincipals,
    Principal,
    TrustedRouter,
)
from model_serving.proxy.errors import PermissionDenied, Unauthenticated

MAX_TOKEN_BYTES = 16 * 1024
MAX_SEEN = 4096
MAX_REFUSED = 256
REFUSED_SECONDS = 5.0
"""How long a token that nobody knew is refused unseen: one client's mistake must not cost a signature per call."""

_MAX_HEADER_BYTES = MAX_TOKEN_BYTES + len(b"Bearer ")


class Identity:
    """Knows callers by their headers.

    `router` is the principal whose principal headers name the caller; anybody else who sends such headers is refused.
    None: nobody's count, they are ignored (the router itself, which everybody may call).
    """

    __slots__ = ("_authenticators", "_named", "_refused", "_router", "_seen", "_trusted")

    def __init__(self, authenticators: Sequence[Authenticator] = (), router: str | None = None) -> None:
        self._seen: dict[bytes, Known] = {}
        self._refused: dict[bytes, float] = {}
        self._named = NamedPrincipals()
        self._trusted: TrustedRouter | None = None
        self.replace(authenticators, router)

    def replace(self, authenticators: Sequence[Authenticator], router: str | None = None) -> None:
        """Asks these from now on, in order, and forgets whom others knew."""
        self._authenticators = tuple(authenticators)
        self._router = router
        self._seen.clear()
        self._refused.clear()

    def trust(self, router: TrustedRouter) -> None:
        """Believes who shows this router's key from now on."""
        self._trusted = router

    def learn(self, authorization: bytes, known: Known) -> None:
        """Knows who sends that authorization header: somebody has found it out who needs more time than `of` has."""
        self._remember(sha256(authorization).digest(), known)

    def of(self, headers: Headers, wall: float) -> Principal:
        """The caller at `wall`, seconds since the epoch. Unauthenticated; PermissionDenied."""
        if self._trusted is not None and ROUTER_KEY in headers:
            named = self._trusted.authenticate(headers)
            if named is not None:
                return named
        authorization = headers.get(b"authorization")
        if not authorization:
            raise Unauthenticated("no credentials: send the header Authorization: Bearer TOKEN")
        digest = sha256(authorization).digest()
        known = self._seen.get(digest)
        if known is None or known[1] <= wall:
            known = self._ask(digest, authorization, wall)
        if self._router is not None and (PRINCIPAL in headers or GROUPS in headers):
            return self._named_by(known[0], headers)
        return known[0]

    def _ask(self, digest: bytes, authorization: bytes, wall: float) -> Known:
        self._seen.pop(digest, None)
        if 0.0 < self._refused.get(digest, 0.0) - wall <= REFUSED_SECONDS:
            raise unknown()
        token = bearer_token(authorization) if len(authorization) <= _MAX_HEADER_BYTES else b""
        if token:
            for authenticator in self._authenticators:
                known = authenticator.authenticate(token, wall)
                if known is not None:
                    self._remember(digest, known)
                    return known
        if len(self._refused) >= MAX_REFUSED:
            self._refused.clear()
        self._refused[digest] = wall + REFUSED_SECONDS
        raise unknown()

    def _remember(self, digest: bytes, known: Known) -> None:
        if len(self._seen) >= MAX_SEEN:
            del self._seen[next(iter(self._seen))]  # the oldest: whoever still calls is known again after one look
        self._seen[digest] = known

    def _named_by(self, sender: Principal, headers: Headers) -> Principal:
        named = self._named.of(headers) if self._router and sender.name == self._router else None
        if named is None:
            raise PermissionDenied(f"{sender.name} may not call in another's name: leave the principal headers out")
        return named


def unknown() -> Unauthenticated:
    """The refusal of a token that is nobody's."""
    # One text for every cause: what exactly is wrong with a token helps none but those who forge one.
    return Unauthenticated("the token is not known here: send a valid one as Authorization: Bearer TOKEN")
