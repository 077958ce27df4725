"""Endpoints, revisions and settings for the tests of this folder."""

from __future__ import annotations

from typing import Any

from model_serving.api.endpoint import ServingEndpoint
from model_serving.controller.desired.owner import Owner, owner_of
from model_serving.controller.desired.shape import shape_of
from model_serving.controller.settings import Settings
from model_serving.lifecycle.revision import Revision

SETTINGS = Settings(image="registry.test/model-serving:1")


def endpoint(annotations: dict[str, str] | None = None, **spec: Any) -> ServingEndpoint:
    """An endpoint with one external model; `spec` adds or replaces fields of the spec."""
    return ServingEndpoint.model_validate(
        {
            "metadata": {
                "name": "chat",
                "namespace": "gen-ai",
                "uid": "11111111-2222-3333-4444-555555555555",
                "generation": 1,
                "labels": {"argocd.argoproj.io/instance": "app"},
                "annotations": {"argocd.argoproj.io/tracking-id": "app:x", **(annotations or {})},
            },
            "spec": {"endpointName": "chat_bot", "config": config(), **spec},
        }
    )


def config(base: str = "https://api.openai.com/v1", scope: str = "my-scope") -> dict[str, Any]:
    """A config whose model needs one key of one Secret."""
    block = {"openaiApiBase": base, "openaiApiKeySecretRef": {"name": scope, "key": "openai"}}
    model = {"name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat", "openaiConfig": block}
    return {"servedEntities": [{"name": "main", "externalModel": model}]}


def owner() -> Owner:
    """The owner of that endpoint's children."""
    return owner_of(endpoint())


def revision(of: ServingEndpoint | None = None, settings: Settings = SETTINGS, **fields: Any) -> Revision:
    """The first revision of an endpoint."""
    of = of or endpoint()
    values: dict[str, Any] = {"config_version": 1, "number": 1, "generation": 1, "started_at": "2026-01-01T00:00:00Z"}
    return Revision(
        endpoint=of.endpoint_name,
        config=of.spec.config.manifest(),
        shape=shape_of(of, settings),
        **(values | fields),
    )
