"""Who owns a child, and what all children have in common: name, labels, owner reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_serving.api.endpoint import API_VERSION, KIND, ServingEndpoint
from model_serving.kube.labels import MANAGED_BY_LABEL, OPERATOR, labels_of_pods, selector_of_pods
from model_serving.kube.resources import Manifest, Resource


@dataclass(frozen=True, slots=True)
class Owner:
    """The endpoint that owns a child. `endpoint_name` is the name that clients use, `name` the object's."""

    namespace: str
    name: str
    uid: str
    endpoint_name: str


def owner_of(endpoint: ServingEndpoint) -> Owner:
    """The owner of an endpoint's children."""
    meta = endpoint.metadata
    return Owner(meta.namespace, meta.name, meta.uid, endpoint.endpoint_name)


def pod_labels(owner: Owner) -> dict[str, str]:
    """The labels that select an endpoint's pods. They stand in an immutable selector: never change them."""
    return labels_of_pods(owner.name)


def pod_selector(owner: Owner) -> str:
    """The same as a text, for lists and for `/scale`."""
    return selector_of_pods(owner.name)


def child(
    owner: Owner,
    resource: Resource,
    body: Mapping[str, Any],
    *,
    suffix: str = "",
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A child of `owner`, named like it plus `-suffix`.

    The endpoint's own labels and annotations are not passed on: tools that track objects by them would claim the
    children. The owner reference does not block deletion, so that no right on finalizers is needed.
    """
    metadata: dict[str, Any] = {
        "name": f"{owner.name}-{suffix}" if suffix else owner.name,
        "namespace": owner.namespace,
        "labels": {**pod_labels(owner), MANAGED_BY_LABEL: OPERATOR},
        "ownerReferences": [
            {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid, "controller": True}
        ],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **body}
