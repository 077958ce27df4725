"""Signatures of issuers' keys, by PyJWT and the cryptography package. Imported by `verifier.py` with the first token.

Only RS256 and ES256: what a key can do is said by the key, never by the token.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jwt import PyJWK
from jwt.exceptions import PyJWTError

log = logging.getLogger(__name__)

ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
"""The one algorithm that each type of key is good for."""
_LEAST_RSA_BITS = 2048


class Keys:
    """The public keys of one issuer, by their ids. Those that cannot be used are named in the log and left out."""

    def __init__(self, issuer: str, keys: Sequence[dict[str, str]]) -> None:
        self._keys: dict[str, PyJWK] = {}
        for key in keys:
            kid = key.get("kid", "")
            try:
                self._keys[kid] = _compile(key)
            except (PyJWTError, ValueError, TypeError, KeyError) as error:
                log.warning("issuer %s: key %s cannot be used: %s", issuer, kid or "without id", type(error).__name__)

    def verify(self, kid: str, alg: str, signed: bytes, signature: bytes) -> bool:
        """Whether the key of that id, made for that algorithm, has signed these bytes."""
        key = self._keys.get(kid)
        if key is None or key.algorithm_name != alg:
            return False
        return bool(key.Algorithm.verify(signed, key.key, signature))


def _compile(key: dict[str, str]) -> PyJWK:
    """A key for its one algorithm. ValueError or PyJWTError."""
    algorithm = ALGORITHMS.get(key.get("kty", ""))
    if algorithm is None or key.get("alg", algorithm) != algorithm or key.get("use", "sig") != "sig":
        raise ValueError("not a key for RS256 or ES256 signatures")
    if "d" in key or (algorithm == "ES256" and key.get("crv") != "P-256"):
        raise ValueError("not a public key on the right curve")
    compiled = PyJWK(key, algorithm)
    if algorithm == "RS256" and compiled.key.key_size < _LEAST_RSA_BITS:
        raise ValueError("the key is too short")
    return compiled
