"""OpenAI, and servers that speak its API at a base URL of their own. Bodies are passed through.

Reference: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import msgspec

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call, Fields
from model_serving.proxy.credentials.scheme import Bearer, Scheme
from model_serving.proxy.errors import InvalidParameter, ProviderError
from model_serving.proxy.providers.base import provider_error
from model_serving.proxy.sse import PassThrough, StreamTranslator
from model_serving.proxy_config import Target

DEFAULT_BASE = "https://api.openai.com/v1"
PATHS = {CHAT: "/chat/completions", COMPLETIONS: "/completions", EMBEDDINGS: "/embeddings"}

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_TRUE = msgspec.Raw(b"true")
_ONLY_USAGE = msgspec.Raw(b'{"include_usage":true}')


class OpenAI:
    """Provider `openai`."""

    name = "openai"
    tasks = frozenset(PATHS)

    def url(self, target: Target) -> str:
        """Base URL and path of the task."""
        kind = target.settings.get("openai_api_type", "openai")
        if kind != "openai":
            raise ValueError(f"openai_api_type {kind} is not supported")
        return target.settings.get("openai_api_base", DEFAULT_BASE).rstrip("/") + PATHS[target.task]

    def scheme(self, target: Target) -> Scheme:
        """A bearer token."""
        return Bearer("openai_api_key")

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """The organization, where one is set."""
        organization = target.settings.get("openai_organization")
        return [("openai-organization", organization)] if organization else []

    def request(self, call: Call, target: Target) -> bytes:
        """The client's body with our model; a stream always reports its usage."""
        fields = with_model(call.fields, target.model)
        if call.stream:
            fields["stream_options"] = _asking_usage(call.fields.get("stream_options"))
        return _encode(fields)

    def reply(self, call: Call, body: bytes) -> bytes:
        """As it is."""
        return body

    def stream(self, call: Call) -> StreamTranslator:
        """As it is, but for the usage that only we asked for."""
        return PassThrough(hide_usage=not _asks_usage(call.fields.get("stream_options")))

    def error(self, status: int, body: bytes, retry_after: float | None) -> ProviderError:
        """Its body, wrapped."""
        return provider_error(self.name, status, body, retry_after)


def with_model(fields: Fields, model: str) -> Fields:
    """The body's fields with the provider's name of the model."""
    return fields | {"model": msgspec.Raw(_encode(model))}


def _options(raw: msgspec.Raw | None) -> Fields:
    if raw is None or bytes(raw) == b"null":
        return {}
    try:
        return _decode_fields(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidParameter("stream_options must be an object", parameter="stream_options") from None


def _asks_usage(raw: msgspec.Raw | None) -> bool:
    return raw is not None and bytes(_options(raw).get("include_usage", b"")) == b"true"


def _asking_usage(raw: msgspec.Raw | None) -> msgspec.Raw:
    return _ONLY_USAGE if raw is None else msgspec.Raw(_encode(_options(raw) | {"include_usage": _TRUE}))
