"""Any server that speaks OpenAI's API, at a full URL, with a bearer token or a header of its own. Only `model` is
rewritten.

Reference: Databricks' external models, provider `custom`.
"""

from __future__ import annotations

import msgspec

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call
from model_serving.proxy.credentials.scheme import Bearer, HeaderKey, Scheme
from model_serving.proxy.errors import ProviderError
from model_serving.proxy.providers.base import provider_error
from model_serving.proxy.providers.openai import with_model
from model_serving.proxy.sse import PassThrough, StreamTranslator
from model_serving.proxy_config import Target

_encode = msgspec.json.Encoder().encode


class Custom:
    """Provider `custom`."""

    name = "custom"
    tasks = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))

    def url(self, target: Target) -> str:
        """The URL as the user wrote it."""
        url = target.settings.get("custom_provider_url")
        if not url:
            raise ValueError("custom_provider_url is missing")
        return url

    def scheme(self, target: Target) -> Scheme:
        """A header of its own where one is named, else a bearer token."""
        header = target.settings.get("key")
        return HeaderKey("value", header) if header else Bearer("token")

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """None."""
        return []

    def request(self, call: Call, target: Target) -> bytes:
        """The client's body with our model."""
        return _encode(with_model(call.fields, target.model))

    def reply(self, call: Call, body: bytes) -> bytes:
        """As it is."""
        return body

    def stream(self, call: Call) -> StreamTranslator:
        """As it is: nothing was asked for that the client did not ask for."""
        return PassThrough(hide_usage=False)

    def error(self, status: int, body: bytes, retry_after: float | None) -> ProviderError:
        """Its body, wrapped."""
        return provider_error(self.name, status, body, retry_after)
