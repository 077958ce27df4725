"""Labels by which the operator's objects are found: whose they are and which endpoint they serve.

Used by `controller/`, which writes them, and by everything in `kube/` that reads them."""

from __future__ import annotations

from model_serving.api.endpoint import GROUP

NAME_LABEL = "app.kubernetes.io/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
ENDPOINT_LABEL = f"{GROUP}/endpoint"
UID_LABEL = f"{GROUP}/endpoint-uid"
"""On an endpoint's Service and so on its EndpointSlices: a deleted namesake's proxies answer for a moment longer."""

PROXY = "model-serving-proxy"
OPERATOR = "model-serving-operator"
WORKSPACE = "model-serving-workspace"
MANAGEMENT = "model-serving-management"

OWNED = f"{MANAGED_BY_LABEL}={OPERATOR}"
"""Label selector of everything that the operator makes."""


def labels_of_pods(object_name: str) -> dict[str, str]:
    """The labels that select an endpoint's pods. They stand in an immutable selector: never change them."""
    return {NAME_LABEL: PROXY, ENDPOINT_LABEL: object_name}


def selector_of_pods(object_name: str) -> str:
    """The same as a text, for lists and for `/scale`."""
    return ",".join(f"{key}={value}" for key, value in labels_of_pods(object_name).items())
