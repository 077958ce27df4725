"""Issuers for tests: their keys, their JWKS entries, and tokens as good or as bad as a test asks for."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from model_serving.proxy_config import Issuer

CLUSTER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "model-serving"
ACCOUNT = "system:serviceaccount:shop:app"
NOW = 1_800_000_000.0
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The RSA key of that number; making one takes long."""
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of that number."""
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key: PrivateKey, kid: str, **members: str) -> dict[str, str]:
    """The JWKS entry of a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        found = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
        return {"kty": "RSA", "n": found["n"], "e": found["e"], "kid": kid, "alg": "RS256", "use": "sig"} | members
    found = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    coordinates = {name: found[name] for name in ("crv", "x", "y")}
    return {"kty": "EC", "kid": kid, "alg": "ES256", "use": "sig"} | coordinates | members


def cluster(*keys: dict[str, str]) -> Issuer:
    """The API server as an issuer."""
    return Issuer(CLUSTER, [AUDIENCE], list(keys) or [jwk(rsa_key(), "k1")], service_accounts=True)


def segment(value: Any) -> str:
    """A segment of a token: of bytes as they are, of a text as it stands, of anything else as JSON."""
    raw = value if isinstance(value, bytes) else value if isinstance(value, str) else json.dumps(value)
    return urlsafe_b64encode(raw.encode() if isinstance(raw, str) else raw).rstrip(b"=").decode()


@dataclass
class Mint:
    """A token's parts; good ones unless a test changes them. `None` leaves a member out."""

    key: PrivateKey = field(default_factory=rsa_key)
    alg: str = "RS256"
    header: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    now: float = NOW

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and claims."""
        now = int(self.now)
        names = {"namespace": "shop", "serviceaccount": {"name": "app", "uid": "u"}}
        claims = {
            "iss": CLUSTER, "sub": ACCOUNT, "aud": [AUDIENCE], "exp": now + 3600, "iat": now, "nbf": now,
            "kubernetes.io": names,
        }  # fmt: skip
        header = {"alg": self.alg, "kid": "k1", "typ": "JWT"}
        return _without_none(header | self.header), _without_none(claims | self.claims)

    def token(self) -> str:
        """The signed token."""
        header, claims = self.parts()
        return self.sign(segment(header), segment(claims))

    def sign(self, header: str, claims: str) -> str:
        """A token of any two segments, properly signed with the key whatever they say."""
        signed = f"{header}.{claims}"
        algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256")
        return f"{signed}.{segment(algorithm.sign(signed.encode(), self.key))}"


def mint(**claims: Any) -> str:
    """A good token of the cluster's issuer, with other claims."""
    return Mint(claims=claims).token()


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
