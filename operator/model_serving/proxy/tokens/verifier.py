"""Knows callers by signed tokens, offline: keys of the issuers arrive with the policy. Made by `state.py`.

The signature's library is loaded with the first token of a known issuer: a proxy whose callers show API keys never pays
its start and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from model_serving.proxy.auth import Known
from model_serving.proxy.tokens.claims import check_claims
from model_serving.proxy.tokens.compact import BadToken, Compact, read_token
from model_serving.proxy_config import Issuer

if TYPE_CHECKING:
    from model_serving.proxy.tokens.signature import Keys


class TokenVerifier:
    """Verifies the tokens of some issuers."""

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._keys: dict[str, Keys] = {}

    def authenticate(self, token: bytes, wall: float) -> Known | None:
        """Whom the token names; None when it is none, or not to be believed."""
        try:
            return self._verify(read_token(token), wall)
        except BadToken:
            return None

    def _verify(self, token: Compact, wall: float) -> Known:
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if type(name) is str else None
        if issuer is None:
            raise BadToken
        known = check_claims(token.claims, issuer, wall)  # before the signature, which costs most
        if not self._keys_of(issuer).verify(token.kid, token.alg, token.signed, token.signature):
            raise BadToken
        return known

    def _keys_of(self, issuer: Issuer) -> Keys:
        keys = self._keys.get(issuer.issuer)
        if keys is None:
            module = import_module("model_serving.proxy.tokens.signature")
            keys = self._keys[issuer.issuer] = module.Keys(issuer.issuer, issuer.keys)
        return keys
