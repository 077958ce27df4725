"""The ControllerRevision of a revision: the part that never changes as data, its outcome as annotations.

The history of an endpoint is read back from them, so that it survives a lost status.
"""

from __future__ import annotations

from typing import Any

from model_serving.api.endpoint import GROUP
from model_serving.controller.desired.owner import Owner, child
from model_serving.kube.resources import CONTROLLER_REVISIONS, Manifest
from model_serving.lifecycle.revision import Outcome, Revision, Shape

_OUTCOME, _CAUSE, _MESSAGE = f"{GROUP}/outcome", f"{GROUP}/outcome-cause", f"{GROUP}/outcome-message"
_GENERATION, _STARTED_AT, _ATTEMPT = f"{GROUP}/generation", f"{GROUP}/started-at", f"{GROUP}/attempt"


def controller_revision(owner: Owner, revision: Revision) -> Manifest:
    """One entry of the history."""
    data = {
        "config": dict(revision.config),
        "configVersion": revision.config_version,
        "shape": revision.shape.manifest(),
    }
    annotations = {
        _OUTCOME: str(revision.outcome),
        _CAUSE: revision.cause,
        _MESSAGE: revision.message,
        _GENERATION: str(revision.generation),
        _STARTED_AT: revision.started_at,
        _ATTEMPT: revision.attempt,
    }
    body = {"data": data, "revision": revision.number}
    stated = {key: value for key, value in annotations.items() if value}
    return child(owner, CONTROLLER_REVISIONS, body, suffix=revision.name, annotations=stated)


def parse_revision(manifest: Manifest, endpoint_name: str) -> Revision | None:
    """The opposite of `controller_revision`; None if somebody has made a mess of it."""
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
