"""The history of an endpoint as ControllerRevisions: what never changes as data, the outcome as annotations.

It is read back from them, so that it survives a lost status. Written by `controller/`, read there and by the workspace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from model_serving.api.endpoint import GROUP
from model_serving.kube.resources import Manifest
from model_serving.lifecycle.revision import History, Outcome, Revision, Shape

_OUTCOME, _CAUSE, _MESSAGE = f"{GROUP}/outcome", f"{GROUP}/outcome-cause", f"{GROUP}/outcome-message"
_GENERATION, _STARTED_AT, _ATTEMPT = f"{GROUP}/generation", f"{GROUP}/started-at", f"{GROUP}/attempt"


def revision_body(revision: Revision) -> dict[str, Any]:
    """The part of a ControllerRevision that never changes."""
    data = {
        "config": dict(revision.config),
        "configVersion": revision.config_version,
        "shape": revision.shape.manifest(),
    }
    return {"data": data, "revision": revision.number}


def revision_annotations(revision: Revision) -> dict[str, str]:
    """What became of it, and what asked for it."""
    annotations = {
        _OUTCOME: str(revision.outcome),
        _CAUSE: revision.cause,
        _MESSAGE: revision.message,
        _GENERATION: str(revision.generation),
        _STARTED_AT: revision.started_at,
        _ATTEMPT: revision.attempt,
    }
    return {key: value for key, value in annotations.items() if value}


def parse_history(manifests: Iterable[Manifest], uid: str, endpoint_name: str) -> History:
    """The history of the endpoint with that UID, oldest first, from ControllerRevisions that may be others' too."""
    own = (manifest for manifest in manifests if _is_of(manifest, uid))
    parsed = (parse_revision(manifest, endpoint_name) for manifest in own)
    return tuple(sorted((r for r in parsed if r is not None), key=lambda r: r.number))


def parse_revision(manifest: Manifest, endpoint_name: str) -> Revision | None:
    """The opposite of `revision_body` and `revision_annotations`; None if somebody has made a mess of it."""
    annotations: dict[str, str] = manifest["metadata"].get("annotations") or {}
    data: Any = manifest.get("data")
    try:
        return Revision(
            endpoint=endpoint_name,
            config=dict(data["config"]),
            config_version=int(data["configVersion"]),
            shape=Shape.parse(data["shape"]),
            number=int(manifest["revision"]),
            generation=int(annotations.get(_GENERATION, "0")),
            started_at=annotations.get(_STARTED_AT, ""),
            attempt=annotations.get(_ATTEMPT, ""),
            outcome=Outcome(annotations.get(_OUTCOME, Outcome.PENDING)),
            cause=annotations.get(_CAUSE, ""),
            message=annotations.get(_MESSAGE, ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _is_of(manifest: Manifest, uid: str) -> bool:
    return any(ref.get("uid") == uid for ref in manifest["metadata"].get("ownerReferences") or [])
