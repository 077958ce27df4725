"""ServingEndpoints and EndpointSlices as the API server has them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
NAMESPACE = "gen-ai"
ENDPOINTS_PATH = f"/apis/model-serving.dev/v1alpha1/namespaces/{NAMESPACE}/servingendpoints"
SLICES_PATH = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"


def endpoint(name: str = "chat", *, created: str = "2026-01-01T00:00:00Z", ready: str = "True", **spec: Any) -> Json:
    """An endpoint with the demo's smallest config, as the operator has looked at it."""
    entity = {
        "name": "gpt",
        "externalModel": {
            "name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat",
            "openaiConfig": {"openaiApiKeySecretRef": {"name": "keys", "key": "openai"}},
        },
    }  # fmt: skip
    conditions = [{"type": "Ready", "status": ready, "reason": "Ready" if ready == "True" else "Progressing"}]
    return {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid-of-{name}", "creationTimestamp": created},
        "spec": {"config": {"servedEntities": [entity]}, **spec},
        "status": {"task": "llm/v1/chat", "conditions": conditions},
    }


def pod(address: str, **conditions: bool) -> Json:
    """A ready endpoint of a slice, or one in other conditions."""
    return {"addresses": [address], "conditions": conditions or {"ready": True, "serving": True, "terminating": False}}


def slice_of(service: str, *pods: Json, name: str = "", port: str = "http", **more: Any) -> Json:
    """A slice as the cluster's own controller makes it."""
    labels = {
        "app.kubernetes.io/name": "model-serving-proxy",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": service,
        "model-serving.dev/endpoint-uid": more.pop("uid", f"uid-of-{service}"),
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name or f"{service}-abcde", "namespace": NAMESPACE, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 8080, "protocol": "TCP"}],
        "endpoints": list(pods),
    } | more
