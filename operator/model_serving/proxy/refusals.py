"""Answers to what the HTTP server refuses by itself: requests that never became a call. Used by both processes."""

from __future__ import annotations

from collections.abc import Callable

from model_serving.proxy.call import find_route
from model_serving.proxy.errors import ProxyError

_CODES = {401: "UNAUTHENTICATED", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}


class Refused(ProxyError):
    """A request that is not proper HTTP, too large or too slow; or this server cannot take it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.error_code = _CODES.get(status, "INVALID_PARAMETER_VALUE")


def refusal_body(status: int, reason: str, target: bytes) -> bytes:
    """The body of a refusal; `target` is as much of the request line's as was read."""
    route = find_route(target.partition(b"?")[0])
    return Refused(status, reason).body(route is not None and route.openai)


def counting(refused: Callable[[int], None]) -> Callable[[int, str, bytes], bytes]:
    """`refusal_body`, which tells `refused` each status."""

    def body(status: int, reason: str, target: bytes) -> bytes:
        refused(status)
        return refusal_body(status, reason, target)

    return body
