"""Endpoints, Secrets and keys for the cluster tests, as plain manifests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

Json = dict[str, Any]

CALLER_KEY = "test-caller-key"
CALLER = "alice@example.com"
PROVIDER_KEY = "sk-canary-4d7c1f"
SECRET, SECRET_KEY = "my-scope", "openai"


def model(name: str, task: str, base: str, secret: str = SECRET, key: str = SECRET_KEY) -> Json:
    """An external model at an OpenAI-compatible provider."""
    block = {"openaiApiBase": base, "openaiApiKeySecretRef": {"name": secret, "key": key}}
    return {"name": name, "provider": "openai", "task": f"llm/v1/{task}", "openaiConfig": block}


def config(external_model: Json, entity: str = "main") -> Json:
    """A config with one served entity."""
    return {"servedEntities": [{"name": entity, "externalModel": external_model}]}


def endpoint(name: str, namespace: str, spec_config: Json, **spec: Any) -> Json:
    """A ServingEndpoint that the tests' caller may query."""
    access = [{"kind": "User", "name": CALLER, "permissionLevel": "CAN_QUERY"}]
    return {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"config": spec_config, "access": access, **spec},
    }


def secret(namespace: str, values: dict[str, str], name: str = SECRET) -> Json:
    """A Secret with plain values."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def api_keys(namespace: str) -> Json:
    """The Secret that makes `CALLER_KEY` the key of `CALLER`."""
    entry = json.dumps({"principal": CALLER, "groups": ["data-science"]})
    return secret(namespace, {hashlib.sha256(CALLER_KEY.encode()).hexdigest(): entry}, "model-serving-api-keys")


def condition(manifest: Json | None, kind: str = "Ready") -> Json:
    """A condition of an endpoint, or an empty one."""
    found = ((manifest or {}).get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind), {})
