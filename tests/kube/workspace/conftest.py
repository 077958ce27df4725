"""A workspace before the fake API server, with two people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from model_serving.kube.client import Client
from model_serving.kube.request import Retries
from model_serving.stores import Caller
from tests.fakes.kube_api import FakeKubeApi

NAMESPACE = "gen-ai"
ENDPOINTS = f"/apis/model-serving.dev/v1alpha1/namespaces/{NAMESPACE}/servingendpoints"
REVISIONS = f"/apis/apps/v1/namespaces/{NAMESPACE}/controllerrevisions"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
RBAC = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"

ALICE = Caller("alice", frozenset({"ml"}), token="alice-token")
BOB = Caller("bob", token="bob-token")


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        fake.people.tokens = {"a-token": ("workspace", ()), "alice-token": ("alice", ("ml",)), "bob-token": ("bob", ())}
        yield fake


@pytest.fixture
async def client(api: FakeKubeApi) -> AsyncIterator[Client]:
    async with Client(api.connection, retries=Retries(attempts=2, base=0.01)) as opened:
        yield opened


def endpoint(name: str, **spec: Any) -> dict[str, Any]:
    """A ServingEndpoint as the API server keeps it."""
    openai = {"openaiApiKeySecretRef": {"name": "open", "key": "key"}}
    external = {"name": "gpt-5", "provider": "openai", "task": "llm/v1/chat", "openaiConfig": openai}
    return {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": {"name": name, "generation": 1, "creationTimestamp": "2026-01-02T00:00:00Z"},
        "spec": {"config": {"servedEntities": [{"name": "main", "externalModel": external}]}, **spec},
    }
