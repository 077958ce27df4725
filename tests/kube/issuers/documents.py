"""Public keys as issuers publish them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

Json = dict[str, Any]
LOGIN = "https://login.example/realm"
CLUSTER = "https://kubernetes.default.svc"


def text(size: int, fill: int = 7) -> str:
    """Base64url of so many bytes."""
    return urlsafe_b64encode(bytes([fill]) * size).rstrip(b"=").decode()


def rsa(kid: str = "r1", **members: Any) -> Json:
    """An RSA key as a JWKS has it."""
    return {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": text(256), "e": "AQAB"} | members


def ec(kid: str = "e1", **members: Any) -> Json:
    """A key of an elliptic curve."""
    return {"kty": "EC", "kid": kid, "crv": "P-256", "x": text(32), "y": text(32, 8)} | members
