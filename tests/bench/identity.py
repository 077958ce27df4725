"""Who calls: users with tokens of one issuer (RS256), made anew for each run. Used by our targets and by Envoy's."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.bench.workload import USERS

ISSUER = "https://issuer.example"
AUDIENCE = "model-serving"
GROUP = "callers"
_KEY_ID = "bench"
_VALID_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Issuer:
    """Tokens of all users, and the key that verifies them, as in a JWKS."""

    public_key: dict[str, str]
    tokens: tuple[str, ...]


@cache
def issuer() -> Issuer:
    """The issuer of this run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    public = {
        "kty": "RSA",
        "kid": _KEY_ID,
        "alg": "RS256",
        "use": "sig",
        "n": _number(numbers.n),
        "e": _number(numbers.e),
    }
    return Issuer(public, tuple(_token(key, _claims(user, int(time.time()))) for user in range(USERS)))


def _claims(user: int, now: int) -> dict[str, Any]:
    times = {"iat": now, "nbf": now - 60, "exp": now + _VALID_SECONDS}
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": f"user-{user}", "groups": [GROUP]} | times


def _token(key: rsa.RSAPrivateKey, claims: dict[str, Any]) -> str:
    head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
    signed = ".".join(_text(json.dumps(part).encode()) for part in (head, claims))
    return f"{signed}.{_text(key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
