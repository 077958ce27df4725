"""Errors of the REST API as Databricks' clients read them: `error_code` decides, the status fits it.

The table of codes is section 1.5 of Databricks' REST reference as its clients implement it. Raised anywhere below
`app.py`, which renders them; nothing else leaves this API with a status above 399.
"""

from __future__ import annotations

from typing import Any

from model_serving import stores
from model_serving.management.convert.problems import rest_problems


class ApiError(Exception):
    """Base of all; `message` names what was being done, the field and the remedy."""

    status = 500
    code = "INTERNAL_ERROR"
    retry_after: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {"error_code": self.code, "message": self.message}


class InvalidParameter(ApiError):
    """A field is wrong; the message names it."""

    status, code = 400, "INVALID_PARAMETER_VALUE"


class BadRequest(ApiError):
    """The body is not what it should be: no JSON, no object."""

    status, code = 400, "BAD_REQUEST"


class AlreadyExists(ApiError):
    """The name is taken."""

    status, code = 400, "RESOURCE_ALREADY_EXISTS"


class Unauthenticated(ApiError):
    """No token, or one that nobody knows."""

    status, code = 401, "UNAUTHENTICATED"


class PermissionDenied(ApiError):
    """The caller may not do that."""

    status, code = 403, "PERMISSION_DENIED"


class DoesNotExist(ApiError):
    """It is not there."""

    status, code = 404, "RESOURCE_DOES_NOT_EXIST"


class MethodNotAllowed(ApiError):
    """The path is known, the method is not."""

    status, code = 405, "INVALID_PARAMETER_VALUE"


class Conflict(ApiError):
    """Another update is in progress, or others keep writing."""

    status, code = 409, "RESOURCE_CONFLICT"


class TooLarge(ApiError):
    """The body is larger than this API takes."""

    status, code = 413, "INVALID_PARAMETER_VALUE"


class TooSlow(ApiError):
    """The body does not come."""

    status, code = 408, "INVALID_PARAMETER_VALUE"


class NotImplementedHere(ApiError):
    """A feature of Databricks that this platform does not have."""

    status, code = 501, "NOT_IMPLEMENTED"


class Unavailable(ApiError):
    """The platform gives no answer at the moment."""

    status, code, retry_after = 503, "TEMPORARILY_UNAVAILABLE", 5


_OF_STORE: dict[type[stores.StoreError], type[ApiError]] = {
    stores.Unknown: DoesNotExist,
    stores.Taken: AlreadyExists,
    stores.Changed: Conflict,
    stores.Locked: Conflict,
    stores.Denied: PermissionDenied,
    stores.Away: Unavailable,
    stores.Refused: InvalidParameter,
}


def of_store(error: stores.StoreError) -> ApiError:
    """The answer for what a platform refused."""
    message = error.message
    if isinstance(error, stores.Refused) and error.problems:
        message = rest_problems(error.problems)
    return _OF_STORE.get(type(error), ApiError)(message)
