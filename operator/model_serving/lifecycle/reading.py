"""Reads an endpoint as a platform keeps it, whatever release wrote it. Pure; for whoever must not stumble over one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from model_serving.api.conditions import Reason
from model_serving.api.endpoint import EndpointSpec, ObjectMeta, ServingEndpoint
from model_serving.api.problems import problems
from model_serving.api.status import EndpointStatus
from model_serving.lifecycle.observed import Finding


def read_endpoint(manifest: Mapping[str, Any]) -> tuple[ServingEndpoint, Finding | None]:
    """The endpoint, and what makes its spec unreadable: another CRD let it in. Then only its identity counts."""
    try:
        return ServingEndpoint.model_validate(manifest), None
    except ValidationError as error:
        finding = Finding(Reason.INVALID_SPEC, "; ".join(map(str, problems(error, ServingEndpoint))))
        bare = ServingEndpoint.model_construct(
            metadata=ObjectMeta.model_construct(**_identity(manifest)),
            spec=EndpointSpec.model_construct(endpoint_name=endpoint_name_of(manifest)),
            status=_readable_status(manifest),
        )
        return bare, finding


def endpoint_name_of(manifest: Mapping[str, Any]) -> str:
    """The name that clients use."""
    return str((manifest.get("spec") or {}).get("endpointName") or manifest["metadata"]["name"])


def age_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Sorts endpoints by age: of two with one name the first one has it. The UID decides within a second."""
    meta = manifest["metadata"]
    return str(meta.get("creationTimestamp") or ""), str(meta.get("uid") or "")


def _identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    meta = manifest["metadata"]
    return {
        "name": meta["name"],
        "namespace": meta.get("namespace", ""),
        "uid": meta.get("uid", ""),
        "generation": int(meta.get("generation") or 0),
        "annotations": dict(meta.get("annotations") or {}),
    }


def _readable_status(manifest: Mapping[str, Any]) -> EndpointStatus:
    try:
        return EndpointStatus.model_validate(manifest.get("status") or {})
    except ValidationError:
        return EndpointStatus()
