"""A target for each API that providers speak: what `docs/providers.md` tells of, and what tests hold against vendors.

`entity` tells apart the APIs of one provider. A further dialect is a row here.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy_config import CredentialFile, Target


class AnyCredential(dict[str, CredentialFile]):
    """Whichever a provider asks for is there."""

    def __missing__(self, name: str) -> CredentialFile:
        return CredentialFile("vendor", name)


def _examples(provider: str, api: str, tasks: Sequence[str], model: str, **settings: str) -> list[Target]:
    return [Target(api, provider, task, model, settings=settings, credentials=AnyCredential()) for task in tasks]


def _bedrock(maker: str, tasks: Sequence[str], model: str, api: str = "") -> list[Target]:
    settings = {"aws_region": "eu-central-1", "bedrock_provider": maker.lower()}
    return _examples("amazon-bedrock", api or maker, tasks, model, **settings)


def _vertex(api: str, tasks: Sequence[str], model: str) -> list[Target]:
    return _examples("google-cloud-vertex-ai", api, tasks, model, project_id="my-project", region="europe-west4")


_ALL = (CHAT, COMPLETIONS, EMBEDDINGS)
_AZURE = {
    "openai_api_type": "azure",
    "openai_api_base": "https://house.openai.azure.com",
    "openai_deployment_name": "gpt-4o",
    "openai_api_version": "2024-10-21",
}

EXAMPLES: tuple[Target, ...] = (
    *_examples("openai", "OpenAI", _ALL, "gpt-4o"),
    *_examples("openai", "Azure", _ALL, "gpt-4o", **_AZURE),
    *_examples("anthropic", "", (CHAT,), "claude-sonnet-4-5"),
    *_examples("anthropic", "", (COMPLETIONS,), "claude-2.1"),
    *_examples("cohere", "", (CHAT, COMPLETIONS), "command-a-03-2025"),
    *_examples("cohere", "", (EMBEDDINGS,), "embed-v4.0"),
    *_bedrock("Anthropic", (CHAT, COMPLETIONS), "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    *_bedrock("Cohere", (CHAT, COMPLETIONS), "cohere.command-r-plus-v1:0"),
    *_bedrock("Amazon", (CHAT, COMPLETIONS), "eu.amazon.nova-pro-v1:0"),
    *_bedrock("AI21Labs", (CHAT, COMPLETIONS), "ai21.jamba-1-5-large-v1:0"),
    *_bedrock("Amazon", (EMBEDDINGS,), "amazon.titan-embed-text-v2:0", "Titan 2"),
    *_bedrock("Amazon", (EMBEDDINGS,), "amazon.titan-embed-text-v1", "Titan 1"),
    *_bedrock("Cohere", (EMBEDDINGS,), "cohere.embed-v4:0", "Cohere 4"),
    *_bedrock("Cohere", (EMBEDDINGS,), "cohere.embed-multilingual-v3", "Cohere 3"),
    *_vertex("Gemini", (CHAT, COMPLETIONS), "gemini-2.5-flash"),
    *_vertex("Gemini 3", (CHAT, COMPLETIONS), "gemini-3-pro-preview"),
    *_vertex("Claude", (CHAT,), "claude-sonnet-4-5@20250929"),
    *_vertex("text", (EMBEDDINGS,), "text-embedding-005"),
    *_vertex("Gemini 1", (EMBEDDINGS,), "gemini-embedding-001"),
    *_vertex("Gemini 2", (EMBEDDINGS,), "gemini-embedding-2-preview"),
    *_examples("ai21labs", "", (COMPLETIONS,), "j2-ultra"),
    *_examples(
        "databricks-model-serving", "", _ALL, "claude", databricks_workspace_url="https://workspace.example.com"
    ),
    *_examples("custom", "", (CHAT,), "llama", custom_provider_url="https://llm.example.com/v1/chat/completions"),
    *_examples("custom", "", (COMPLETIONS,), "llama", custom_provider_url="https://llm.example.com/v1/completions"),
    *_examples("custom", "", (EMBEDDINGS,), "bge-m3", custom_provider_url="https://llm.example.com/v1/embeddings"),
)
