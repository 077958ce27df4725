"""What a provider is: where and how a target is called, and its dialect. Pure: no I/O, no clock.

A `Provider` is a vendor; asked once per target, when a config is compiled. A `Dialect` is an API that a target speaks:
it turns each call into requests, and answers into ours; several vendors may share one. Credentials are shown by
`credentials/`, sockets are `upstream.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from model_serving.proxy.call import Call
from model_serving.proxy.credentials.scheme import Scheme
from model_serving.proxy.errors import ProviderError, Unavailable
from model_serving.proxy.provider_errors import status_of
from model_serving.proxy.providers.features import Features
from model_serving.proxy.sse import StreamTranslator
from model_serving.proxy.usage import Usage
from model_serving.proxy_config import Target

T = TypeVar("T")


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What an answer needs besides the vendor's words. `id` and `created` are for vendors that send none."""

    call: Call
    model: str
    id: str
    created: int
    """Seconds since the epoch."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A complete answer in the client's format, and what it used; None when the vendor does not say."""

    body: bytes
    usage: Usage | None


class Dialect(Protocol):
    """One target's API. InvalidParameter and Unavailable tell what cannot be translated, there and back."""

    stream_type: bytes
    """The content type of its streams; empty: it has none."""

    @property
    def features(self) -> Features:
        """What it can express of a call."""

    def request(self, call: Call) -> list[bytes]:
        """The bodies of the requests that make this call: one, or several where the vendor takes small batches."""

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The answer from those to each request, all successful."""

    def stream(self, asked: Asked) -> StreamTranslator:
        """The translator of a successful stream."""


class Provider(Protocol):
    """One vendor. ValueError for settings that cannot work, KeyError for a credential that is not there."""

    name: str
    """The value that users write in `provider`."""
    tasks: frozenset[str]

    def url(self, target: Target, stream: bool) -> str:
        """Where the target's task is served, whole or as a stream."""

    def scheme(self, target: Target) -> Scheme:
        """How requests show their credential."""

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """Headers that all requests carry besides the usual ones."""

    def dialect(self, target: Target) -> Dialect:
        """The API that the target speaks."""


def path_segment(name: str) -> str:
    """A name as one segment of a URL's path. ValueError for those that would leave it."""
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} cannot be the name of a model or deployment")
    return quote(name, safe="")


def provider_error(name: str, status: int, body: bytes, retry_after: float | None) -> ProviderError:
    """A provider's error with its body as JSON where it is that, else as text."""
    parsed: Any
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = body[:4096].decode("utf-8", "replace")
    return ProviderError(name, status, parsed, retry_after)


def error_of_type(provider: str, kind: str, body: Any, retry_after: float | None = None) -> ProviderError:
    """A provider's error amid a stream, where only its type (`overloaded_error`, `throttlingException`) tells a status.

    `body` is what the vendor said, as JSON or text: it is told to the client as an error before the stream would be.
    """
    return ProviderError(provider, status_of(provider, kind), body, retry_after, kind=kind)


def understood(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A vendor's words, typed. Unavailable when they are not what its API says."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unavailable(f"the provider's answer is not what its API says: {error}") from None
