"""Bodies that clients send: the examples of Databricks' documentation, and one endpoint per provider."""

from __future__ import annotations

from typing import Any

KEY = "{{secrets/my_scope/my_openai_api_key}}"


def external(provider: str, block: dict[str, Any], **model: Any) -> dict[str, Any]:
    """An external model with the block of its provider."""
    name = {"custom": "custom_provider_config"}.get(provider, f"{provider.replace('-', '_')}_config")
    return {"name": "some-model", "provider": provider, "task": "llm/v1/chat", name: block, **model}


def create(model: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A create body with one external model."""
    return {"name": "chat", "config": {"served_entities": [{"name": "main", "external_model": model}]}, **fields}


OPENAI_EMBEDDINGS: dict[str, Any] = {
    "name": "text-embedding-ada-002",
    "provider": "openai",
    "task": "llm/v1/embeddings",
    "openai_config": {"openai_api_key": KEY},
}
OPENAI_CHAT: dict[str, Any] = {
    "name": "gpt-4",
    "provider": "openai",
    "task": "llm/v1/chat",
    "openai_config": {"openai_api_key": KEY},
}
CREATE: dict[str, Any] = {
    "name": "openai_endpoint",
    "config": {"served_entities": [{"name": "openai_embeddings", "external_model": OPENAI_EMBEDDINGS}]},
    "rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}],
    "tags": [{"key": "team", "value": "gen-ai"}],
}
UPDATE: dict[str, Any] = {
    "name": "openai_endpoint",
    "served_entities": [{"name": "openai_chat", "external_model": OPENAI_CHAT}],
}
RATE_LIMITS: dict[str, Any] = {"rate_limits": [{"key": "user", "renewal_period": "minute", "calls": 10}]}

_SECRET = "{{secrets/my_scope/a.key_2}}"
PROVIDERS: dict[str, dict[str, Any]] = {
    "openai": external("openai", {"openai_api_key": _SECRET}),
    "openai with everything": external(
        "openai",
        {
            "openai_api_key": _SECRET,
            "openai_api_type": "openai",
            "openai_api_base": "https://llm.example.com/v1",
            "openai_organization": "org-1",
        },
    ),
    "openai azure": external(
        "openai",
        {
            "openai_api_key": _SECRET,
            "openai_api_type": "azure",
            "openai_api_base": "https://example.openai.azure.com",
            "openai_api_version": "2024-06-01",
            "openai_deployment_name": "gpt-4",
        },
    ),
    "openai azuread": external(
        "openai",
        {
            "openai_api_type": "azuread",
            "openai_api_base": "https://example.openai.azure.com",
            "openai_api_version": "2024-06-01",
            "openai_deployment_name": "gpt-4",
            "microsoft_entra_tenant_id": "tenant",
            "microsoft_entra_client_id": "client",
            "microsoft_entra_client_secret": _SECRET,
        },
    ),
    "anthropic": external("anthropic", {"anthropic_api_key": _SECRET}),
    "anthropic with a base": external(
        "anthropic", {"anthropic_api_key": _SECRET, "anthropic_api_base": "https://gateway.example.com"}
    ),
    "cohere": external("cohere", {"cohere_api_key": _SECRET, "cohere_api_base": "https://api.cohere.ai/v1"}),
    "ai21labs": external("ai21labs", {"ai21labs_api_key": _SECRET}, task="llm/v1/completions"),
    "ai21labs with a base": external(
        "ai21labs",
        {"ai21labs_api_key": _SECRET, "ai21labs_api_base": "https://gateway.example.com"},
        task="llm/v1/completions",
    ),
    "palm": external("palm", {"palm_api_key": _SECRET}),
    "amazon-bedrock with keys": external(
        "amazon-bedrock",
        {
            "aws_region": "eu-central-1",
            "bedrock_provider": "Anthropic",
            "aws_access_key_id": "{{secrets/aws/id}}",
            "aws_secret_access_key": "{{secrets/aws/key}}",
        },
    ),
    "amazon-bedrock with an endpoint": external(
        "amazon-bedrock",
        {
            "aws_region": "eu-central-1",
            "bedrock_provider": "amazon",
            "aws_access_key_id": "{{secrets/aws/id}}",
            "aws_secret_access_key": "{{secrets/aws/key}}",
            "aws_endpoint_url": "https://vpce-0123.bedrock-runtime.eu-central-1.vpce.amazonaws.com",
        },
    ),
    "amazon-bedrock with temporary keys": external(
        "amazon-bedrock",
        {
            "aws_region": "eu-central-1",
            "bedrock_provider": "cohere",
            "aws_access_key_id": "{{secrets/aws/id}}",
            "aws_secret_access_key": "{{secrets/aws/key}}",
            "aws_session_token": "{{secrets/aws/token}}",
        },
    ),
    "amazon-bedrock with the pod's identity": external(
        "amazon-bedrock", {"aws_region": "eu-central-1", "bedrock_provider": "amazon", "workload_identity": {}}
    ),
    "google-cloud-vertex-ai": external(
        "google-cloud-vertex-ai", {"project_id": "project", "region": "europe-west4", "private_key": _SECRET}
    ),
    "google-cloud-vertex-ai with a base": external(
        "google-cloud-vertex-ai",
        {
            "project_id": "project",
            "region": "europe-west4",
            "private_key": _SECRET,
            "vertex_api_base": "https://vertex.example.com",
        },
    ),
    "databricks-model-serving": external(
        "databricks-model-serving",
        {"databricks_workspace_url": "https://example.cloud.databricks.com", "databricks_api_token": _SECRET},
    ),
    "custom with a bearer token": external(
        "custom",
        {
            "custom_provider_url": "https://llm.example.com/v1/chat/completions",
            "bearer_token_auth": {"token": _SECRET},
        },
    ),
    "custom with a header": external(
        "custom",
        {
            "custom_provider_url": "https://llm.example.com/v1/chat/completions",
            "api_key_auth": {"key": "X-Api-Key", "value": _SECRET},
        },
    ),
}
GATEWAY: dict[str, Any] = {
    "rate_limits": [
        {"calls": 5, "renewal_period": "minute"},
        {"tokens": 1000, "key": "user_group", "principal": "data-science", "renewal_period": "minute"},
    ],
    "usage_tracking_config": {"enabled": True},
    "inference_table_config": {"enabled": False, "catalog_name": "main", "schema_name": "default"},
    "fallback_config": {"enabled": False},
    "guardrails": {"input": {"safety": False, "pii": {"behavior": "NONE"}}, "output": {}},
}
INERT: dict[str, Any] = {
    "description": "Chat for everybody",
    "email_notifications": {"on_update_success": ["a@example.com"], "on_update_failure": []},
    "budget_policy_id": "budget-1",
    "route_optimized": False,
}
FOUNDATION: dict[str, Any] = {
    "name": "open",
    "config": {
        "served_entities": [
            {
                "entity_name": "system.ai.llama",
                "entity_version": "3",
                "workload_size": "Small",
                "workload_type": "GPU_SMALL",
                "scale_to_zero_enabled": True,
                "environment_vars": {"LEVEL": "debug", "EMPTY": "", "TOKEN": "{{secrets/s/k}}"},
            },
            {
                "name": "other",
                "entity_name": "system.ai.llama",
                "entity_version": "4",
                "min_provisioned_throughput": 0,
                "max_provisioned_throughput": 4000,
                "burst_scaling_enabled": False,
            },
        ],
        "traffic_config": {
            "routes": [
                {"served_model_name": "system-ai-llama-3", "traffic_percentage": "90"},
                {"served_entity_name": "other", "traffic_percentage": 10},
            ]
        },
    },
}
