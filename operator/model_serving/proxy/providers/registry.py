"""All providers by name. A further one is a file of this folder and a row here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from model_serving.proxy.providers.base import Provider

_ROWS = {
    "openai": "openai.OpenAI",
    "anthropic": "anthropic.Anthropic",
    "custom": "custom.Custom",
    "databricks-model-serving": "databricks.DatabricksModelServing",
    "cohere": "cohere.Cohere",
    "ai21labs": "ai21labs.AI21Labs",
    "amazon-bedrock": "bedrock.AmazonBedrock",
    "google-cloud-vertex-ai": "vertex.VertexAI",
}
"""Module of this folder, and the class in it."""


class Registry(Mapping[str, Provider]):
    """Each provider is loaded when it is first asked for: a proxy holds the code of its own alone."""

    def __init__(self, rows: Mapping[str, str]) -> None:
        self._rows = rows
        self._loaded: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        """The provider of that name. KeyError."""
        if name not in self._loaded:
            module, _, kind = self._rows[name].partition(".")
            self._loaded[name] = getattr(import_module(f"{__package__}.{module}"), kind)()
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


PROVIDERS = Registry(_ROWS)
