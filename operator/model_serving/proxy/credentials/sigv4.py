"""AWS Signature Version 4: how a request shows that its sender holds an access key. Pure; used by `aws.py`.

Signed are method, path, query, host, content type, time and body. The path is encoded once more than it is sent, as
all services but S3 want it: the `%3A` of a model's id becomes `%253A`.

Reference: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

from model_serving.proxy.credentials.scheme import Outgoing

ALGORITHM = "AWS4-HMAC-SHA256"
_PATHS = 256  # that are remembered: a proxy has two per target


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """An access key as its two halves, with the token of a temporary one."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for, besides its day."""

    region: str
    service: str


def signed_headers(keys: AccessKeys, scope: Scope, request: Outgoing) -> bytes:
    """Rendered header lines that sign a POST with JSON."""
    stamp = _stamp(int(request.wall))
    headers = [("content-type", "application/json"), ("host", request.host), ("x-amz-date", stamp)]
    shown = f"x-amz-date: {stamp}\r\n"
    if keys.token:
        headers.append(("x-amz-security-token", keys.token))
        shown += f"x-amz-security-token: {keys.token}\r\n"
    canonical = canonical_request("POST", request.path, headers, request.body)
    return f"{shown}authorization: {authorization(keys, scope, stamp, canonical)}\r\n".encode("latin-1")


def authorization(keys: AccessKeys, scope: Scope, stamp: str, canonical: str) -> str:
    """The value of the header `Authorization`. `stamp` is the time as in `x-amz-date`."""
    day = stamp[:8]
    place = f"{day}/{scope.region}/{scope.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = hmac.digest(
        _signing_key(keys.secret, day, scope), f"{ALGORITHM}\n{stamp}\n{place}\n{digest}".encode(), "sha256"
    ).hex()
    names = canonical.rsplit("\n", 2)[1]
    return f"{ALGORITHM} Credential={keys.id}/{place}, SignedHeaders={names}, Signature={signature}"


def canonical_request(method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> str:
    """The form of a request that both sides hash. `path` has its query, encoded as it is sent; `headers` are all that
    are signed, in lower case and sorted, their values without superfluous blanks."""
    lines = "".join(f"{name}:{value}\n" for name, value in headers)
    names = ";".join([name for name, _ in headers])
    return f"{method}\n{_canonical_path(path)}\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"


@lru_cache(_PATHS)
def _canonical_path(path: str) -> str:
    """Path and query, each on a line of its own."""
    path, _, query = path.partition("?")
    pairs = sorted(tuple(pair.partition("=")[::2]) for pair in query.split("&")) if query else []
    return quote(_normal(path), safe="/~") + "\n" + "&".join(f"{name}={value}" for name, value in pairs)


def _normal(path: str) -> str:
    """Without empty, `.` and `..` segments."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


@lru_cache(4)
def _stamp(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


@lru_cache(16)
def _signing_key(secret: str, day: str, scope: Scope) -> bytes:
    """Changes once a day, so that most signatures are spared its four hashes."""
    key = f"AWS4{secret}".encode()
    for part in (day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
