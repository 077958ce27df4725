"""Anthropic: chat through Messages, text completions through the API that came before it.

Reference: https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

from model_serving.proxy.call import CHAT, COMPLETIONS
from model_serving.proxy.credentials.scheme import HeaderKey, Scheme
from model_serving.proxy.providers.anthropic_complete import Complete
from model_serving.proxy.providers.anthropic_messages import Messages
from model_serving.proxy.providers.base import Dialect
from model_serving.proxy_config import Target

DEFAULT_BASE = "https://api.anthropic.com"
PATHS = {CHAT: "/v1/messages", COMPLETIONS: "/v1/complete"}
VERSION = "2023-06-01"
"""Of the API: the only one since it left its beta."""


class Anthropic:
    """Provider `anthropic`."""

    name = "anthropic"
    tasks = frozenset(PATHS)

    def url(self, target: Target, stream: bool) -> str:
        """Base URL, which may or may not end in `/v1`, and path of the task."""
        base = target.settings.get("anthropic_api_base", DEFAULT_BASE).rstrip("/")
        return base.removesuffix("/v1") + PATHS[target.task]

    def scheme(self, target: Target) -> Scheme:
        """A key in a header of its own."""
        return HeaderKey(target.credentials["anthropic_api_key"], "x-api-key")

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """The API's version."""
        return [("anthropic-version", VERSION)]

    def dialect(self, target: Target) -> Dialect:
        """The task's API."""
        return Complete(self.name, target.model) if target.task == COMPLETIONS else Messages(self.name, target.model)
