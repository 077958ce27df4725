"""Why a pod is not ready, from what Kubernetes says of it. Pure; used by `evidence.py`.

The texts are the kubelet's and the scheduler's own, without what changes from try to try: a message that changes
would be a status write each time.
"""

from __future__ import annotations

import re
from typing import Any

from model_serving.api.conditions import Cause
from model_serving.kube.resources import Manifest
from model_serving.lifecycle.observed import Finding

_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_CREATE_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun"}
)
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: ErrImagePull)?(: )?')
_TIMESTAMP = re.compile(r"^\[?\d{4}-\d\d-\d\d[T ][\d:.,]+(Z|[+-]\d\d:?\d\d)?\]?\s*")
_LONGEST_TEXT = 400


def pod_findings(pod: Manifest) -> list[Finding]:
    """The causes that stand in the pod's own status; none for a pod that is ready or simply starting."""
    status = pod.get("status") or {}
    found = [_unschedulable(status)]
    for container in status.get("containerStatuses") or []:
        if not container.get("ready"):
            found.append(_container_finding(container))
    return [finding for finding in found if finding is not None]


def is_ready(pod: Manifest) -> bool:
    """Whether the pod is a ready address of its Service."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and is_active(pod)


def is_active(pod: Manifest) -> bool:
    """Whether the pod counts: neither ended nor on its way out."""
    ended = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return not ended and not pod["metadata"].get("deletionTimestamp")


def _unschedulable(status: dict[str, Any]) -> Finding | None:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Finding(Cause.UNSCHEDULABLE, f"no node takes a proxy: {_short(condition.get('message'))}")
    return None


def _container_finding(container: dict[str, Any]) -> Finding | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in _IMAGE_REASONS:
        words = _BACK_OFF.sub("", waiting.get("message") or "") or reason
        return Finding(Cause.IMAGE_PULL_FAILED, f"image {container.get('image')} cannot be pulled: {_short(words)}")
    if reason in _CREATE_REASONS:
        return Finding(
            Cause.CREATE_CONTAINER_FAILED, f"the proxy's container cannot start: {_short(waiting.get('message'))}"
        )
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    return _end(ended) if ended else None


def _end(ended: dict[str, Any]) -> Finding | None:
    reason, code = ended.get("reason", ""), ended.get("exitCode", 0)
    if reason == "OOMKilled":
        return Finding(
            Cause.OUT_OF_MEMORY, "the proxy was killed for want of memory: raise proxy.resources.limits.memory"
        )
    if reason in _CREATE_REASONS:
        return Finding(
            Cause.CREATE_CONTAINER_FAILED, f"the proxy's container cannot start: {_short(ended.get('message'))}"
        )
    words = _last_line(ended.get("message") or "")
    return Finding(
        Cause.PROXY_CRASH_LOOPING,
        f"the proxy ended with exit code {code}" + (f", its last words: {words}" if words else ""),
    )


def _last_line(text: str) -> str:
    # Lines of the access log are no last words.
    lines = [line.strip() for line in text.splitlines() if line.strip() and '{"type":"call"' not in line]
    return _short(_TIMESTAMP.sub("", lines[-1])) if lines else ""


def _short(text: str | None) -> str:
    return " ".join((text or "no reason given").split())[:_LONGEST_TEXT]
