"""Any server that speaks OpenAI's API, at a full URL, with a bearer token or a header of its own. Only `model` is
rewritten.

Reference: Databricks' external models, provider `custom`.
"""

from __future__ import annotations

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy.credentials.scheme import Bearer, HeaderKey, Scheme
from model_serving.proxy.providers.base import Dialect
from model_serving.proxy.providers.openai_dialect import OpenAIDialect
from model_serving.proxy_config import Target


class Custom:
    """Provider `custom`."""

    name = "custom"
    tasks = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))

    def url(self, target: Target, stream: bool) -> str:
        """The URL as the user wrote it."""
        url = target.settings.get("custom_provider_url")
        if not url:
            raise ValueError("custom_provider_url is missing")
        return url

    def scheme(self, target: Target) -> Scheme:
        """A header of its own where one is named, else a bearer token."""
        header = target.settings.get("key")
        return HeaderKey(target.credentials["value"], header) if header else Bearer(target.credentials["token"])

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """None."""
        return []

    def dialect(self, target: Target) -> Dialect:
        """OpenAI's; nothing is asked for that the client did not ask for."""
        return OpenAIDialect(target.model, counts=False)
