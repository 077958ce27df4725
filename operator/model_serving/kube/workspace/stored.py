"""Objects of the API server as `Stored` endpoints, and back. Pure; used by `endpoint_store.py`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from model_serving.api.endpoint import API_VERSION, KIND, EndpointSpec, ServingEndpoint
from model_serving.kube.resources import Manifest
from model_serving.kube.revisions import parse_history
from model_serving.stores import Stored

log = logging.getLogger(__name__)

_ARGO_CD = "argocd.argoproj.io/tracking-id"
_INSTANCE, _MANAGED_BY = "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"
_FLUX = ("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")
_HELM = "meta.helm.sh/release-name"


def parse_stored(manifest: Manifest, revisions: Iterable[Manifest] = ()) -> Stored | None:
    """The endpoint with its history, out of revisions that may be others' too. None for what is being deleted, or
    cannot be read: it was made for another release of the resource."""
    if manifest["metadata"].get("deletionTimestamp"):
        return None
    endpoint = _parse(manifest) or _parse({k: v for k, v in manifest.items() if k != "status"})
    if endpoint is None:
        log.warning("the ServingEndpoint %s cannot be read by this release", manifest["metadata"].get("name"))
        return None
    history = parse_history(revisions, endpoint.metadata.uid, endpoint.endpoint_name)
    return Stored(endpoint, history, _updated_at(manifest["metadata"]), _owner(manifest["metadata"]), manifest)


def new_manifest(endpoint: ServingEndpoint, namespace: str) -> Manifest:
    """What is sent to make it."""
    meta = endpoint.metadata
    metadata: Manifest = {"name": meta.name, "namespace": namespace}
    for name, values in (("labels", meta.labels), ("annotations", meta.annotations)):
        if values:
            metadata[name] = dict(values)
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": endpoint.spec.written()}


def changed_manifest(stored: Stored, endpoint: ServingEndpoint) -> Manifest:
    """What was read as `stored`, with spec and annotations of `endpoint`. A part of the spec that says the same stays
    as it is written, so that an edit of tags touches nothing else."""
    raw = dict(stored.raw)
    old, written = stored.endpoint.spec.written(), endpoint.spec.written()
    for name, field in EndpointSpec.model_fields.items():
        key = field.alias or name
        if old.get(key) == written.get(key):
            written.pop(key, None)
            if key in raw["spec"]:
                written[key] = raw["spec"][key]
    metadata = {k: v for k, v in raw["metadata"].items() if k != "annotations"}
    if endpoint.metadata.annotations:
        metadata["annotations"] = dict(endpoint.metadata.annotations)
    return {**raw, "metadata": metadata, "spec": written}


def _parse(manifest: Mapping[str, Any]) -> ServingEndpoint | None:
    try:
        return ServingEndpoint.model_validate(manifest)
    except ValidationError:
        return None


def _updated_at(meta: Mapping[str, Any]) -> str:
    """When anything but the status was last written."""
    times = [m.get("time", "") for m in meta.get("managedFields") or [] if m.get("subresource") != "status"]
    return max(times, default="") or meta.get("creationTimestamp", "")


def _owner(meta: Mapping[str, Any]) -> str:
    """What keeps the object in step with something else, and so would write our changes back."""
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if _ARGO_CD in annotations or "argocd" in labels.get(_INSTANCE, "").lower():
        return "Argo CD"
    if any(label in labels for label in _FLUX):
        return "Flux"
    if labels.get(_MANAGED_BY) == "Helm" and _HELM in annotations:
        return "Helm"
    return ""
