"""Everything that can go wrong with a call: one tree; each error knows its status, its code and its bodies.

    ProxyError
    ├── BadRequest 400 · InvalidParameter 400 · Unauthenticated 401 · PermissionDenied 403
    ├── EndpointNotFound 404 · MethodNotAllowed 405
    ├── LimitExceeded 429 · Overloaded 429
    ├── NotServed 501 · Unavailable 503 · DeadlineExceeded 504
    └── ProviderError: the provider's own answer

Two formats of body: Databricks' (`error_code`, `message`), and on OpenAI's routes the same with an `error` object
added. On `/invocations` that object would break Databricks' clients. A message never holds a secret or a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from model_serving.proxy.provider_errors import delay_in, kinds_in, meaning_of, words_in

Json = Any

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    499: "CANCELLED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Codes of the statuses that clients know."""

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_exceeded",
}


DO_NOT_RETRY = (b"x-should-retry", b"false")
"""Tells clients not to repeat, where the status alone would make them; the openai package obeys it."""


class ProxyError(Exception):
    """A call that fails. `retry_after` in seconds; `parameter` is the field at fault."""

    status = 500
    error_code = "INTERNAL_ERROR"
    before = b""
    """What of a stream came with the error, and is told before its event."""

    def __init__(self, message: str, *, retry_after: float | None = None, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.parameter = parameter

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that this error adds to the answer."""
        if self.retry_after is None:
            return []
        return [(b"retry-after", b"%d" % max(1, math.ceil(self.retry_after)))]

    def scrub(self, clean: Callable[[bytes], bytes]) -> None:
        """Takes secrets out of its words: they may hold what a provider said."""
        self.message = clean(self.message.encode()).decode()

    def body(self, openai: bool) -> bytes:
        """The answer's body in the client's format."""
        body: dict[str, Json] = {"error_code": self.error_code, "message": self.message}
        if openai:
            body["error"] = self.openai_error()
        return msgspec.json.encode(body)

    def event(self) -> bytes:
        """The event that ends a stream which has begun: clients raise on `error`."""
        body = {"error": self.openai_error(), "error_code": self.error_code, "message": self.message}
        return b"%bdata: %b\n\n" % (self.before, msgspec.json.encode(body))

    def openai_error(self) -> dict[str, Json]:
        """The error object of OpenAI's API."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "message": self.message,
            "type": _OPENAI_TYPES.get(self.status, default),
            "code": self.error_code,
            "param": self.parameter,
        }


class BadRequest(ProxyError):
    """The body cannot be understood."""

    status = 400
    error_code = "BAD_REQUEST"


class InvalidParameter(ProxyError):
    """A field has a value that cannot be."""

    status = 400
    error_code = "INVALID_PARAMETER_VALUE"


class Unauthenticated(ProxyError):
    """No caller, or one that nobody knows."""

    status = 401
    error_code = "UNAUTHENTICATED"

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"www-authenticate", b"Bearer")]


class PermissionDenied(ProxyError):
    """The caller may not do this."""

    status = 403
    error_code = "PERMISSION_DENIED"


class EndpointNotFound(ProxyError):
    """No such endpoint, served entity or path."""

    status = 404
    error_code = "ENDPOINT_NOT_FOUND"


class MethodNotAllowed(ProxyError):
    """The path exists for another method."""

    status = 405
    error_code = "INVALID_PARAMETER_VALUE"

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", self.allow.encode())]


class LimitExceeded(ProxyError):
    """A rate limit is used up; `key` tells which. Clients look for the code at the start of the message."""

    status = 429
    error_code = "REQUEST_LIMIT_EXCEEDED"

    def __init__(self, message: str, key: str, retry_after: float) -> None:
        super().__init__(f"REQUEST_LIMIT_EXCEEDED: {message}", retry_after=retry_after)
        self.key = key
        self.lines: list[tuple[bytes, bytes]] = []
        """The limit in OpenAI's `x-ratelimit-*` headers."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [*super().headers(), *self.lines]


class Overloaded(ProxyError):
    """More calls at once than this process takes."""

    status = 429
    error_code = "RESOURCE_EXHAUSTED"


class NotServed(ProxyError):
    """The endpoint asks for what is not done here, such as a provider that is retired: waiting changes nothing."""

    status = 501
    error_code = "NOT_IMPLEMENTED"

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [*super().headers(), DO_NOT_RETRY]


class Unavailable(ProxyError):
    """Not ready, or the upstream cannot be reached, or it broke off."""

    status = 503
    error_code = "TEMPORARILY_UNAVAILABLE"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after=retry_after)


class DeadlineExceeded(ProxyError):
    """The upstream took too long."""

    status = 504
    error_code = "DEADLINE_EXCEEDED"


class ProviderError(ProxyError):
    """The provider answered with an error: its status where clients know it, its words in the message.

    Status, code and whether to try again are the table's (`provider_errors.py`); `kind` is the vendor's type of error
    where the body does not hold it.
    """

    def __init__(
        self,
        provider: str,
        status: int,
        body: Json,
        retry_after: float | None = None,
        *,
        kind: str = "",
    ) -> None:
        body = body[0] if isinstance(body, list) and len(body) == 1 else body  # Google's, of a stream that never began
        meaning = meaning_of(provider, status, (kind, *kinds_in(body)))
        self.status, self.error_code = meaning.status, meaning.error_code
        self.retry = meaning.retry
        """Whether the same call may succeed later; the vendor's own word on that may take its place."""
        wrapped: dict[str, Json] = {"external_model_provider": provider, "external_model_error": body}
        if self.status != status:
            wrapped["external_model_status"] = status
        if meaning.hint:
            wrapped["external_model_hint"] = meaning.hint
        if retry_after is None:
            retry_after = delay_in(body)
        if retry_after is None and self.status in (429, 503):
            retry_after = 1.0
        super().__init__(msgspec.json.encode(wrapped).decode(), retry_after=retry_after)
        self._body = body

    def headers(self) -> list[tuple[bytes, bytes]]:
        vain = not self.retry and (self.status in (408, 409, 429) or self.status >= 500)
        return [*super().headers(), *([DO_NOT_RETRY] if vain else [])]

    def scrub(self, clean: Callable[[bytes], bytes]) -> None:
        super().scrub(clean)
        self._body = _cleaned(self._body, clean)

    def openai_error(self) -> dict[str, Json]:
        """The provider's own object where it has one, completed; else its words."""
        error = super().openai_error()
        if words := words_in(self._body):
            error["message"] = words
        own = self._body.get("error") if isinstance(self._body, dict) else None
        if not isinstance(own, dict):
            return error
        return error | {
            name: own[name] for name in ("type", "code", "param") if isinstance(own.get(name, 0), str | None)
        }


def code_of(status: int) -> str:
    """The code that goes with a status, for calls that ended without an error of this tree: a client that left."""
    return _CODES.get(status, "INTERNAL_ERROR")


def _cleaned(body: Json, clean: Callable[[bytes], bytes]) -> Json:
    """A provider's words without secrets."""
    text = clean(msgspec.json.encode(body))
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):  # a secret that was a part of the syntax
        return text.decode("utf-8", "replace")
