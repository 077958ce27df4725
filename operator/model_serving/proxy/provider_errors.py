"""What vendors' errors mean for our clients: the one table, asked by `errors.ProviderError`. Pure data and lookups.

A vendor's status decides. Its type of error decides where there is no status, amid a stream (`TYPES`), and where the
type says more than the status (`KINDS`). Two choices are worth a word:

* 401 and 403 pass through, as in the reference, although it is the endpoint's credential that the vendor refused and
  not the caller's token. No client repeats them: openai raises AuthenticationError, Databricks' SDKs Unauthenticated
  (and append a hint on the caller's own configuration). A 5xx in their place would be repeated for minutes, and each
  time in vain. What tells the two apart: no `WWW-Authenticate`, `external_model_provider`, and `external_model_hint`.
* A quota that waiting does not bring back stays 429, the vendor's status, with the code RESOURCE_EXHAUSTED, and
  `x-should-retry: false`, which the openai package obeys.

Sources: the vendors' error pages; `anthropic.types.shared`, `cohere.errors`, botocore's model of `bedrock-runtime`;
google.rpc.Code; `databricks-api.md` 1.5 for statuses and codes that clients know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

Json = Any

CREDENTIAL = "the provider refused the credential of this endpoint, or what it may do; the caller's own token is fine"
ACCOUNT = "the account behind this endpoint's credential cannot pay for the call"
REDIRECT = "the provider answered with a redirect, and none is ever followed: name the final address as base URL"


class Meaning(NamedTuple):
    """What a client gets: status, code, whether the same call may succeed later, and a word where one is needed."""

    status: int
    error_code: str
    retry: bool
    hint: str = ""


STATUSES: dict[int, Meaning] = {
    400: Meaning(400, "BAD_REQUEST", False),
    401: Meaning(401, "UNAUTHENTICATED", False, CREDENTIAL),
    402: Meaning(403, "PERMISSION_DENIED", False, ACCOUNT),
    403: Meaning(403, "PERMISSION_DENIED", False, CREDENTIAL),
    404: Meaning(404, "RESOURCE_DOES_NOT_EXIST", False),
    408: Meaning(504, "DEADLINE_EXCEEDED", True),  # it was the vendor's model that took too long
    409: Meaning(409, "RESOURCE_CONFLICT", True),
    413: Meaning(400, "INVALID_PARAMETER_VALUE", False),
    422: Meaning(400, "INVALID_PARAMETER_VALUE", False),
    424: Meaning(500, "INTERNAL_ERROR", True),  # Bedrock: the model failed
    429: Meaning(429, "REQUEST_LIMIT_EXCEEDED", True),
    498: Meaning(400, "BAD_REQUEST", False),  # Cohere: a word that is on a list of the denied ones
    499: Meaning(503, "TEMPORARILY_UNAVAILABLE", True),  # cancelled, but not by our client
    500: Meaning(500, "INTERNAL_ERROR", True),
    501: Meaning(501, "NOT_IMPLEMENTED", False),
    502: Meaning(503, "TEMPORARILY_UNAVAILABLE", True),
    503: Meaning(503, "TEMPORARILY_UNAVAILABLE", True),
    504: Meaning(504, "DEADLINE_EXCEEDED", True),
    529: Meaning(503, "TEMPORARILY_UNAVAILABLE", True),  # Anthropic: overloaded
}
"""By the vendor's status."""
OTHER_REDIRECT = Meaning(503, "TEMPORARILY_UNAVAILABLE", False, REDIRECT)
OTHER_4XX = Meaning(400, "INVALID_PARAMETER_VALUE", False)
OTHER = Meaning(503, "TEMPORARILY_UNAVAILABLE", True)
"""Of statuses without a row."""

_QUOTA = Meaning(429, "RESOURCE_EXHAUSTED", False)
_NOT_READY = Meaning(503, "TEMPORARILY_UNAVAILABLE", True)

KINDS: dict[str, dict[str, Meaning]] = {
    "openai": {"insufficient_quota": _QUOTA},
    "anthropic": {"enforced_spend_limit_reached": _QUOTA},
    "amazon-bedrock": {"ServiceQuotaExceededException": _QUOTA, "ModelNotReadyException": _NOT_READY},
}
"""By provider and its type of error, where that says more than the status."""

_ANTHROPIC = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "conflict_error": 409, "request_too_large": 413, "rate_limit_error": 429,
    "api_error": 500, "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip
_GOOGLE = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "ABORTED": 409, "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499, "UNKNOWN": 500, "INTERNAL": 500, "DATA_LOSS": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
TYPES: dict[str, dict[str, int]] = {
    "anthropic": _ANTHROPIC,
    "cohere": {"ERROR": 500, "TIMEOUT": 504},  # finish reasons that say that there is no answer
    "amazon-bedrock": {
        "ValidationException": 400, "AccessDeniedException": 403, "ResourceNotFoundException": 404,
        "ModelTimeoutException": 408, "ModelErrorException": 424, "ModelStreamErrorException": 424,
        "ThrottlingException": 429, "ModelNotReadyException": 429, "ServiceQuotaExceededException": 400,
        "InternalServerException": 500, "ServiceUnavailableException": 503,
    },
    "google-cloud-vertex-ai": _GOOGLE | _ANTHROPIC,
}  # fmt: skip
"""The status that goes with a type of error, by provider: for errors amid a stream."""
UNKNOWN_TYPE = 500
"""Of types without a row."""


def plain_kind(kind: str) -> str:
    """A type's bare name in small letters: `com.amazon#ThrottlingException:http://x` is `throttlingexception`."""
    return kind.rpartition("#")[2].partition(":")[0].lower()


_KINDS = {name: {plain_kind(kind): meaning for kind, meaning in rows.items()} for name, rows in KINDS.items()}
_TYPES = {name: {plain_kind(kind): status for kind, status in rows.items()} for name, rows in TYPES.items()}


def status_of(provider: str, kind: str) -> int:
    """The status that goes with a type of error."""
    return _TYPES.get(provider, {}).get(plain_kind(kind), UNKNOWN_TYPE)


def meaning_of(provider: str, status: int, kinds: Iterable[str]) -> Meaning:
    """What a vendor's error means that has this status and these types."""
    rows = _KINDS.get(provider, {})
    for kind in kinds if rows else ():
        if (special := rows.get(plain_kind(kind))) is not None:
            return special
    return STATUSES.get(status) or _other(status)


def _other(status: int) -> Meaning:
    if 300 <= status < 400:
        return OTHER_REDIRECT
    return OTHER_4XX if 400 <= status < 500 else OTHER


def kinds_in(body: Json) -> Iterator[str]:
    """The types of error that a vendor's body names, wherever vendors put them."""
    if not isinstance(body, Mapping):
        return
    error = body.get("error")
    inner = error if isinstance(error, Mapping) else {}
    details = inner.get("details")
    for place, key in ((body, "__type"), (inner, "code"), (inner, "type"), (inner, "status"), (details, "error_code")):
        kind = place.get(key) if isinstance(place, Mapping) else None
        if isinstance(kind, str):
            yield kind


def with_kind(body: bytes, kind: bytes) -> bytes:
    """An error's body with its type, where that stands in a header alone (AWS); as it is when it is no JSON object."""
    if not kind:
        return body
    try:
        fields = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    name = kind.decode("latin-1").rpartition("#")[2].partition(":")[0]
    return msgspec.json.encode({"__type": msgspec.Raw(msgspec.json.encode(name))} | fields)


def words_in(body: Json) -> str:
    """The vendor's own message, wherever vendors put it; empty without."""
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error")
    places = (error.get("message") if isinstance(error, Mapping) else error, body.get("message"), body.get("detail"))
    return next((text for text in places if isinstance(text, str)), "")


def delay_in(body: Json) -> float | None:
    """Seconds to wait that Google writes into the body (google.rpc.RetryInfo); None without."""
    error = body.get("error") if isinstance(body, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, Mapping) else None
        if isinstance(delay, str) and delay.endswith("s") and delay[:-1].replace(".", "", 1).isdecimal():
            return min(float(delay[:-1]), 86400.0)
    return None
