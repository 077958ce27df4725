"""What a provider is: how a call becomes its request, and how its answers become ours. Pure: no I/O, no clock.

Credentials are not here (`credentials/`), sockets neither (`upstream.py`).
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from model_serving.proxy.call import Call
from model_serving.proxy.credentials.scheme import Scheme
from model_serving.proxy.errors import ProviderError
from model_serving.proxy.sse import StreamTranslator
from model_serving.proxy_config import Target


class Provider(Protocol):
    """One vendor. Each method may raise ValueError for settings that cannot work, InvalidParameter for a call."""

    name: str
    """The value that users write in `provider`."""
    tasks: frozenset[str]

    def url(self, target: Target) -> str:
        """Where the target's task is served."""

    def scheme(self, target: Target) -> Scheme:
        """How requests show their credential."""

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """Headers that all requests carry besides the usual ones."""

    def request(self, call: Call, target: Target) -> bytes:
        """The body of the request."""

    def reply(self, call: Call, body: bytes) -> bytes:
        """The body for the client from a complete, successful answer."""

    def stream(self, call: Call) -> StreamTranslator:
        """The translator of a successful stream."""

    def error(self, status: int, body: bytes, retry_after: float | None) -> ProviderError:
        """The error for an answer with another status."""


def provider_error(name: str, status: int, body: bytes, retry_after: float | None) -> ProviderError:
    """A provider's error with its body as JSON where it is that, else as text."""
    parsed: Any
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = body[:4096].decode("utf-8", "replace")
    return ProviderError(name, status, parsed, retry_after)
