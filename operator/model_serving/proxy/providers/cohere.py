"""Cohere: chat, text completions and embeddings through version 2 of its API.

Completions are chats of one message of the user: the vendor deprecated `/v1/generate` and its models in September
2025.

References: https://docs.cohere.com/reference/chat, https://docs.cohere.com/reference/embed,
https://docs.cohere.com/docs/deprecations
"""

from __future__ import annotations

from collections.abc import Callable

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy.credentials.scheme import Bearer, Scheme
from model_serving.proxy.providers.base import Dialect
from model_serving.proxy.providers.cohere_chat import CohereChat, CohereCompletions
from model_serving.proxy.providers.cohere_embed import CohereEmbed
from model_serving.proxy_config import Target

DEFAULT_BASE = "https://api.cohere.com"
PATHS = {CHAT: "/v2/chat", COMPLETIONS: "/v2/chat", EMBEDDINGS: "/v2/embed"}
DIALECTS: dict[str, Callable[[str], Dialect]] = {
    CHAT: CohereChat,
    COMPLETIONS: CohereCompletions,
    EMBEDDINGS: CohereEmbed,
}


class Cohere:
    """Provider `cohere`."""

    name = "cohere"
    tasks = frozenset(PATHS)

    def url(self, target: Target, stream: bool) -> str:
        """Base URL and path of the task. A version at the base's end, such as the `/v1` of many configs, gives way."""
        base = target.settings.get("cohere_api_base", DEFAULT_BASE).rstrip("/")
        return base.removesuffix("/v1").removesuffix("/v2") + PATHS[target.task]

    def scheme(self, target: Target) -> Scheme:
        """A bearer token."""
        return Bearer(target.credentials["cohere_api_key"])

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """None."""
        return []

    def dialect(self, target: Target) -> Dialect:
        """The task's."""
        return DIALECTS[target.task](target.model)
