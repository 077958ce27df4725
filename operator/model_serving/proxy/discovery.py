"""What the router answers to anybody: health, and what clients ask before each call. Cheap, and never refused."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from model_serving.proxy.http.head import JSON_HEAD

Page = tuple[int, bytes, bytes]
"""Status, header lines and body."""

OPEN_PATHS = frozenset(
    (b"/healthz", b"/.well-known/databricks-config", b"/oidc/.well-known/oauth-authorization-server")
)
_SANE_HOST = re.compile(rb"[A-Za-z0-9.:\[\]_-]{1,255}").fullmatch
_NO_ISSUER = msgspec.json.encode(
    {
        "error_code": "RESOURCE_DOES_NOT_EXIST",
        "message": "This workspace issues no tokens. Set DATABRICKS_TOKEN (Authorization: Bearer TOKEN) to a token of "
        "a Kubernetes ServiceAccount (kubectl create token NAME), of the cluster's identity provider, or an API key.",
    }
)


class Discovery:
    """The open pages. `oidc_issuer` is where callers get tokens; empty: a path of ours that says that there is none."""

    def __init__(self, workspace_id: str, oidc_issuer: str = "") -> None:
        self.workspace_id = workspace_id
        """Digits."""
        self._oidc_issuer = oidc_issuer

    def page(self, target: bytes, headers: Mapping[bytes, bytes], scheme: bytes) -> Page | None:
        """The answer to a GET that was sent over `scheme`; None when somebody else has to give it."""
        path = target.partition(b"?")[0]
        if path not in OPEN_PATHS:
            return None
        if path == b"/healthz":
            return 200, b"content-type: text/plain\r\n", b"ok\n"
        if path == b"/.well-known/databricks-config":
            return 200, JSON_HEAD, self._config(headers, scheme)
        return 404, JSON_HEAD, _NO_ISSUER

    def _config(self, headers: Mapping[bytes, bytes], scheme: bytes) -> bytes:
        issuer = self._oidc_issuer
        if not issuer:
            host = headers.get(b"host", b"")
            name = host.decode() if _SANE_HOST(host) else "localhost"
            issuer = f"{scheme.decode()}://{name}/oidc"
        return msgspec.json.encode({"oidc_endpoint": issuer, "workspace_id": self.workspace_id})


def scheme_of(headers: Mapping[bytes, bytes], tls: bool) -> bytes:
    """How the client speaks to us: https with TLS here, or in front of us by the word of whoever is there."""
    told = headers.get(b"x-forwarded-proto", b"").partition(b",")[0].strip().lower()
    return b"https" if tls or told == b"https" else b"http"
