"""The clouds' token services over a real socket: Entra ID, Google's OAuth, STS, IAM credentials and metadata server.

Behaves like the thing by default: checks every form field, and signatures by the public key. What it refuses it answers
with the vendors' error bodies; a test's scripts answer first, as with `FakeUpstream`.
References: those of `credentials/entra.py`, `google.py` and `federation.py`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.upstream import FakeUpstream, Received, whole

CLIENT, CLIENT_SECRET, TENANT = "client-1", "entra-secret-canary~+/ %", "tenant-1"
AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ACCOUNT = "models@project.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
POD_TOKEN = "pod-token-canary"
IMPERSONATE = f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"


class Refused(Exception):
    """What the service answers in place of a token."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(body)
        self.status, self.body = status, body


def new_key() -> rsa.RSAPrivateKey:
    """A key of a service account."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    """A key as Google's JSON files hold it."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@dataclass
class FakeTokenService(FakeUpstream):
    """All of them on one port. Use as an async context manager."""

    life: float = 3600
    secrets: set[str] = field(default_factory=lambda: {CLIENT_SECRET})
    """Client secrets that Entra ID accepts."""
    keys_by_id: dict[str, rsa.RSAPublicKey] = field(default_factory=dict)
    """Public keys of the service account."""
    clock: float = 0.0
    """How far the service's clock is ahead of ours."""
    delay: float = 0.0
    issued: list[str] = field(default_factory=list)
    """Tokens, in order."""

    async def __aenter__(self) -> FakeTokenService:
        await super().__aenter__()
        return self

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.delay)
        try:
            status, body = 200, self._grant(request)
        except Refused as refused:
            status, body = refused.status, refused.body
        await whole(status, body)(request, writer)

    def _grant(self, request: Received) -> Any:
        place = urlsplit(request.path)
        if place.path.endswith("/oauth2/v2.0/token"):
            return self._entra(place.path, form_of(request))
        if place.path == "/token":
            return self._assertion(form_of(request))
        if place.path == "/v1/token":
            return self._exchange(form_of(request))
        if place.path == IMPERSONATE:
            return self._impersonate(request)
        if place.path == METADATA and request.method == "GET":
            return self._metadata(request, parse_qs(place.query))
        raise Refused(404, b"<html>not found</html>")

    def _token(self, kind: str) -> str:
        self.issued.append(f"{kind}-token-canary-{len(self.issued) + 1}")
        return self.issued[-1]

    def _entra(self, path: str, form: dict[str, str]) -> Any:
        if path != f"/{TENANT}/oauth2/v2.0/token":
            raise Refused(400, entra_error("invalid_request", "AADSTS90002: Tenant not found."))
        expected = {"grant_type": "client_credentials", "client_id": CLIENT, "scope": AZURE_SCOPE}
        if {name: value for name, value in form.items() if name != "client_secret"} != expected:
            raise Refused(400, entra_error("invalid_request", f"AADSTS900144: the form is {form}"))
        if form["client_secret"] not in self.secrets:
            told = f"AADSTS7000215: Invalid client secret provided: {form['client_secret']}."
            raise Refused(401, entra_error("invalid_client", told))
        return {"token_type": "Bearer", "expires_in": self.life, "ext_expires_in": 1, "access_token": self._token("e")}

    def _assertion(self, form: dict[str, str]) -> Any:
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise Refused(400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"})
        try:
            key = self.keys_by_id[jwt.get_unverified_header(form["assertion"])["kid"]]
            claims = jwt.decode(
                form["assertion"], key, algorithms=["RS256"], audience="https://oauth2.googleapis.com/token",
                options={"verify_exp": False, "verify_iat": False, "require": ["iss", "iat", "exp", "aud", "scope"]},
            )  # fmt: skip
        except (jwt.PyJWTError, KeyError):
            raise Refused(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}) from None
        now = time.time() + self.clock
        timely = claims["iat"] <= now <= claims["exp"] and claims["exp"] - claims["iat"] <= 3600
        if not timely or claims["scope"] != GOOGLE_SCOPE or claims["iss"] != ACCOUNT or len(claims) != 5:
            told = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            raise Refused(400, {"error": "invalid_grant", "error_description": told})
        return {"access_token": self._token("g"), "expires_in": self.life, "token_type": "Bearer"}

    def _exchange(self, form: dict[str, str]) -> Any:
        expected = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": AUDIENCE,
            "scope": GOOGLE_SCOPE,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": POD_TOKEN,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        if form != expected:
            raise Refused(400, {"error": "invalid_grant", "error_description": f"ID Token {form} is stale to sign-in."})
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return {
            "access_token": self._token("s"), "issued_token_type": kind, "token_type": "Bearer",
            "expires_in": self.life,
        }  # fmt: skip

    def _impersonate(self, request: Received) -> Any:
        shown = (request.header("authorization") or "").removeprefix("Bearer ")
        if shown not in self.issued or request.json != {"scope": [GOOGLE_SCOPE], "lifetime": "3600s"}:
            told = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
            raise Refused(403, {"error": {"code": 403, "message": told, "status": "PERMISSION_DENIED"}})
        return {"accessToken": self._token("i"), "expireTime": "2001-01-01T00:00:00Z"}

    def _metadata(self, request: Received, query: dict[str, list[str]]) -> Any:
        if request.header("metadata-flavor") != "Google" or query != {"scopes": [GOOGLE_SCOPE]}:
            raise Refused(403, b"Missing Metadata-Flavor:Google header.")
        return {"access_token": self._token("m"), "expires_in": self.life, "token_type": "Bearer"}


def form_of(request: Received) -> dict[str, str]:
    """A form's fields, each once. Refused when it is none."""
    if request.method != "POST" or request.header("content-type") != "application/x-www-form-urlencoded":
        raise Refused(405, b"")
    fields = parse_qs(request.body.decode(), keep_blank_values=True, strict_parsing=True)
    return {name: value for name, (value,) in fields.items()}


def entra_error(code: str, words: str) -> dict[str, Any]:
    """An error as Entra ID tells it; ids and times differ each time."""
    now = time.time()
    words += f" Trace ID: {now} Correlation ID: {now} Timestamp: {now}"
    return {"error": code, "error_description": words, "error_codes": [1], "timestamp": str(now), "trace_id": str(now)}
