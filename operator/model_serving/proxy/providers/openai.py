"""OpenAI, servers that speak its API at a base URL of their own, and Azure OpenAI. Bodies are passed through.

References: https://platform.openai.com/docs/api-reference, https://learn.microsoft.com/azure/ai-services/openai/reference
"""

from __future__ import annotations

import re
from urllib.parse import quote

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy.credentials.entra import EntraClient
from model_serving.proxy.credentials.scheme import Bearer, HeaderKey, Scheme
from model_serving.proxy.providers.base import Dialect, path_segment
from model_serving.proxy.providers.openai_dialect import OpenAIDialect
from model_serving.proxy_config import Target

DEFAULT_BASE = "https://api.openai.com/v1"
PATHS = {CHAT: "/chat/completions", COMPLETIONS: "/completions", EMBEDDINGS: "/embeddings"}
AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
AZURE_COUNTS = "2024-08-01"
"""The first version of Azure's API whose streams tell their usage: earlier ones refuse `stream_options`."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class OpenAI:
    """Provider `openai`; `openai_api_type` tells OpenAI (`openai`) from Azure with a key or with Entra ID."""

    name = "openai"
    tasks = frozenset(PATHS)

    def url(self, target: Target, stream: bool) -> str:
        """Base URL and path of the task; on Azure the deployment's, whether or not the base ends in `/openai`."""
        settings = target.settings
        base = settings.get("openai_api_base", DEFAULT_BASE).rstrip("/")
        if not _is_azure(target):
            return base + PATHS[target.task]
        deployment, version = settings.get("openai_deployment_name"), settings.get("openai_api_version")
        if not deployment or not version or "openai_api_base" not in settings:
            raise ValueError("Azure needs openai_api_base, openai_deployment_name and openai_api_version")
        path = f"/openai/deployments/{path_segment(deployment)}{PATHS[target.task]}"
        return f"{base.removesuffix('/openai')}{path}?api-version={quote(version, safe='')}"

    def scheme(self, target: Target) -> Scheme:
        """A bearer token; on Azure a header of its own, or a token of Entra ID."""
        match _api_type(target):
            case "azuread":
                return EntraClient(
                    tenant=target.settings["microsoft_entra_tenant_id"],
                    client=target.settings["microsoft_entra_client_id"],
                    secret=target.credentials["microsoft_entra_client_secret"],
                    scope=AZURE_SCOPE,
                )
            case "azure":
                return HeaderKey(target.credentials["openai_api_key"], "api-key")
        return Bearer(target.credentials["openai_api_key"])

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """The organization, where one is set."""
        organization = target.settings.get("openai_organization")
        return [("openai-organization", organization)] if organization else []

    def dialect(self, target: Target) -> Dialect:
        """OpenAI's own; on Azure the path names the model, and not every version tells the usage of streams."""
        if not _is_azure(target):
            return OpenAIDialect(target.model, counts=True)
        date = _DATE.match(target.settings.get("openai_api_version", ""))
        return OpenAIDialect("", counts=date is None or date.group() >= AZURE_COUNTS)


def _api_type(target: Target) -> str:
    kind = target.settings.get("openai_api_type", "openai")
    if kind not in ("openai", "azure", "azuread"):
        raise ValueError(f"openai_api_type {kind} is not known")
    return kind


def _is_azure(target: Target) -> bool:
    return _api_type(target) != "openai"
