"""What a call to the API server can end in, named by what the caller does next.

    KubeError
    ├─ NotFound          it is not there: normal for a read, done for a delete
    ├─ Expired           the resource version is too old: list again
    ├─ Conflict          somebody else was there first: look again, then decide again
    ├─ Invalid           the request will never do: change it
    ├─ Forbidden         refused by RBAC, quota or policy: report the server's words, try again slowly
    ├─ Unauthorized      the credentials are not accepted
    ├─ TooManyRequests   come back after `retry_after` seconds
    └─ Unavailable       no answer or a server's error: try again with back-off

Raised by `kube/client.py`; caught by `controller/`. Texts hold the server's own words, never a request's body.
"""

from __future__ import annotations

import json
from typing import Any


class KubeError(Exception):
    """Base of all; `status` is the HTTP status (0: no answer), `reason` the server's one word for it."""

    words: str = ""
    """What the server said, without what was being done."""
    fields: tuple[tuple[str, str], ...] = ()
    """Field paths that the server complains about, each with its words."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", causes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.causes = causes


class NotFound(KubeError):
    """It is not there, or its kind is not installed."""


class Expired(KubeError):
    """The resource version is too old to go on from."""


class Conflict(KubeError):
    """Somebody else wrote first, owns the field, or the name is taken."""

    @property
    def already_exists(self) -> bool:
        """Whether a create found the name taken."""
        return self.reason == "AlreadyExists"


class Invalid(KubeError):
    """The server refuses this content; trying again does not help."""


class Forbidden(KubeError):
    """Refused by RBAC, by a quota or by an admission policy; the message says by which."""

    @property
    def terminating(self) -> bool:
        """Whether the namespace is on its way out, so that nothing can be made in it any more."""
        return "NamespaceTerminating" in self.causes


class Unauthorized(KubeError):
    """The credentials are not accepted, even after they were read again."""


class TooManyRequests(KubeError):
    """The server sheds load; come back after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class Unavailable(KubeError):
    """No answer in time, no connection, or an error of the server's own."""


_BY_STATUS: dict[int, type[KubeError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    406: Invalid,
    409: Conflict,
    410: Expired,
    413: Invalid,
    415: Invalid,
    422: Invalid,
}

_LONGEST_TEXT = 2048


def error_of(what: str, status: int, body: bytes, retry_after: str = "") -> KubeError:
    """The error for a refused request. `what` says in a few words what was being done."""
    answer = _status_object(body)
    text = str(answer.get("message") or body[:200].decode(errors="replace").strip() or "no reason given")
    details = answer.get("details") or {}
    listed = [cause for cause in details.get("causes") or [] if isinstance(cause, dict)]
    error = _error_of(f"{what}: {text}"[:_LONGEST_TEXT], status, answer, retry_after)
    error.words = text[:_LONGEST_TEXT]
    error.fields = tuple((str(c["field"]), str(c.get("message", ""))[:_LONGEST_TEXT]) for c in listed if c.get("field"))
    return error


def _error_of(message: str, status: int, answer: dict[str, Any], retry_after: str) -> KubeError:
    details = answer.get("details") or {}
    listed = [cause for cause in details.get("causes") or [] if isinstance(cause, dict)]
    causes = tuple(str(cause.get("reason", "")) for cause in listed)
    known: dict[str, Any] = {"status": status, "reason": str(answer.get("reason") or ""), "causes": causes}
    if status == 429:
        return TooManyRequests(message, retry_after=_seconds(retry_after or details.get("retryAfterSeconds")), **known)
    if status == 422 and any(cause.get("field") == "metadata.uid" for cause in listed):
        # How the server says that an apply with a UID met another object of that name.
        return Conflict(message, **known)
    return _BY_STATUS.get(status, Unavailable)(message, **known)


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _seconds(value: Any) -> float:
    try:
        return max(float(value), 0.1)
    except (TypeError, ValueError):
        return 1.0
