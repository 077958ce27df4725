"""The story of an endpoint: which changes of its status are worth an event. Pure; platforms write what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from model_serving.api.conditions import ConditionType
from model_serving.api.status import Condition, EndpointStatus


@dataclass(frozen=True, slots=True)
class Event:
    """One line of `kubectl describe`. `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


def transitions(old: EndpointStatus, new: EndpointStatus) -> list[Event]:
    """What happened between two statuses; empty when nothing did that a person would want to read."""
    events: list[Event] = []
    if new.config_version != old.config_version and new.config_version:
        events.append(Event("Normal", "ConfigVersionServing", f"config version {new.config_version} serves now"))
    was, now = _find(old, ConditionType.READY), _find(new, ConditionType.READY)
    if now is None or (was is not None and (was.status, was.reason) == (now.status, now.reason)):
        stalled = _find(old, ConditionType.STALLED) is None and _find(new, ConditionType.STALLED) is not None
        if not stalled or now is None:
            return events
    kind = "Warning" if _find(new, ConditionType.STALLED) or _troubled(now) else "Normal"
    events.append(Event(kind, now.reason, now.message))
    return events


def _troubled(ready: Condition) -> bool:
    return ready.status == "False" and ready.reason in ("SecretNotFound", "Recovering", "ReplicaFailure")


def _find(status: EndpointStatus, kind: ConditionType) -> Condition | None:
    return next((c for c in status.conditions if c.type == kind), None)
