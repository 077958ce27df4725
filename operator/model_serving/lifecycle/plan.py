"""What would happen if an endpoint were written: which config version, what rolls, what acts at once, what is refused.

Pure; called by `model-serving plan`. Versions come from the same state machine that the operator runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.hosts import Leave
from model_serving.api.names import CANCEL_ANNOTATION, RELOAD_ANNOTATION, RETRY_ANNOTATION
from model_serving.api.not_supported import not_supported
from model_serving.api.problems import Problem
from model_serving.api.validation import check_create, check_update
from model_serving.lifecycle.consequences import Step, consequences
from model_serving.lifecycle.difference import differences
from model_serving.lifecycle.observed import Observed
from model_serving.lifecycle.revision import History, Outcome, serving
from model_serving.lifecycle.update import Update, plan_update

_ENDED = (Outcome.FAILED, Outcome.CANCELED)
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_LIVE = ("spec.rateLimits", "spec.aiGateway.rateLimits", "spec.access")
_SCALES = ("spec.proxy.replicas", "spec.proxy.autoscaling")


class Kind(StrEnum):
    """What a changed field sets in motion."""

    ROLLOUT = "rollout"
    """New proxies take the place of the old ones."""
    LIVE = "live"
    """The running proxies act on it within seconds."""
    NONE = "none"
    """Stored and shown; nothing acts on it."""


class Action(StrEnum):
    """What becomes of the endpoint."""

    CREATE = "create"
    UPDATE = "update"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Present:
    """An endpoint as it is, with as much of its history as is known (none, when there is only the object)."""

    endpoint: ServingEndpoint
    history: History = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One field that changes, in YAML spelling; None where it is not set."""

    field: str
    kind: Kind
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """`version`: the config version that is asked for then; 0 when the present is a file without numbers. `effects`:
    sentences on what callers notice. With `refusals` nothing of it would happen."""

    endpoint: str
    action: Action
    version: int
    new_version: bool
    changes: tuple[Change, ...]
    effects: tuple[str, ...]
    refusals: tuple[Problem, ...] = ()

    @property
    def changes_anything(self) -> bool:
        """Whether anything would be written."""
        return self.action is not Action.NOTHING

    @property
    def rolls(self) -> bool:
        """Whether proxies would be replaced."""
        return any(change.kind is Kind.ROLLOUT for change in self.changes)


def plan(present: Present | None, wanted: ServingEndpoint, leave: Leave, *, pods: bool = True) -> Plan:
    """What writing `wanted` would do. `pods`: whether proxies are pods that `spec.proxy` shapes (a cluster)."""
    if present is None:
        return _creation(wanted, leave, pods)
    after = applied(present.endpoint, wanted)
    changes = tuple(_changes(present.endpoint, after, pods))
    step = replace(_step(present, after), rolls=any(change.kind is Kind.ROLLOUT for change in changes), pods=pods)
    changes = tuple(_moved(change, step) for change in changes)
    refusals = check_update(present.endpoint, after, leave) if changes else []
    return Plan(
        endpoint=after.endpoint_name,
        action=Action.UPDATE if changes else Action.NOTHING,
        version=step.asked,
        new_version=step.new_version,
        changes=changes,
        effects=tuple(consequences(step)) if changes else (),
        refusals=(*refusals, *_unsupported(after)),
    )


def applied(old: ServingEndpoint, new: ServingEndpoint) -> ServingEndpoint:
    """`old` after `new` was applied over it: the spec as a whole, labels and annotations added. Replicas that `new`
    leaves open stay as they were scaled."""
    spec = new.spec
    if "replicas" not in spec.proxy.model_fields_set:
        proxy = spec.proxy.model_copy(update={"replicas": old.spec.proxy.replicas})
        spec = spec.model_copy(update={"proxy": proxy})
    metadata = old.metadata.model_copy(
        update={
            "labels": {**old.metadata.labels, **new.metadata.labels},
            "annotations": {**old.metadata.annotations, **new.metadata.annotations},
        }
    )
    return old.model_copy(update={"spec": spec, "metadata": metadata})


def _creation(wanted: ServingEndpoint, leave: Leave, pods: bool) -> Plan:
    changes = tuple(
        Change(field, _kind(field, pods=pods), None, value)
        for field, value in ((f"spec.{name}", value) for name, value in wanted.spec.written().items())
    )
    step = Step(None, wanted, asked=1, new_version=True, rolls=True, pods=pods)
    return Plan(
        endpoint=wanted.endpoint_name,
        action=Action.CREATE,
        version=1,
        new_version=True,
        changes=changes,
        effects=tuple(consequences(step)),
        refusals=(*check_create(wanted, leave), *_unsupported(wanted)),
    )


def _changes(old: ServingEndpoint, new: ServingEndpoint, pods: bool) -> Iterator[Change]:
    for part in ("labels", "annotations"):
        before, after = getattr(old.metadata, part), getattr(new.metadata, part)
        for name in after:
            if before.get(name) != after[name]:
                kind = Kind.LIVE if name == RELOAD_ANNOTATION else Kind.NONE
                yield Change(f"metadata.{part}[{name}]", kind, before.get(name), after[name])
    for field, before, after in differences(_spec(old), _spec(new), "spec"):
        yield Change(field, _kind(field, pods=pods), before, after)


def _spec(endpoint: ServingEndpoint) -> dict[str, Any]:
    # A block of which parts act and parts do not is looked into, also where there was none.
    return {"aiGateway": {}} | endpoint.spec.manifest()


def _moved(change: Change, step: Step) -> Change:
    """An annotation that asks for something, and gets it, is more than stored."""
    if step.tried_again and change.field == f"metadata.annotations[{RETRY_ANNOTATION}]":
        return replace(change, kind=Kind.ROLLOUT)
    if step.cancelled and change.field == f"metadata.annotations[{CANCEL_ANNOTATION}]":
        return replace(change, kind=Kind.ROLLOUT)
    return change


def _kind(field: str, *, pods: bool) -> Kind:
    if _below(field, ("spec.config",)):
        return Kind.ROLLOUT
    if _below(field, _LIVE) or (pods and _below(field, _SCALES)):
        return Kind.LIVE
    return Kind.ROLLOUT if pods and _below(field, ("spec.proxy",)) else Kind.NONE


def _below(field: str, parents: tuple[str, ...]) -> bool:
    return any(field == parent or field.startswith((f"{parent}.", f"{parent}[")) for parent in parents)


def _unsupported(endpoint: ServingEndpoint) -> list[Problem]:
    return [Problem(f"spec.{field}", message) for field, message in not_supported(endpoint.spec)]


def _step(present: Present, new: ServingEndpoint) -> Step:
    """The versions on both sides of the write."""
    old, history = present.endpoint, present.history
    if not history:
        return _step_by_status(old, new)
    before, after = _update(old, history), _update(new, history)
    base, asked = before.serving, new.spec.config.manifest()
    target = base if base is not None and base.config == asked else after.open or after.target
    outcomes = {revision.name: revision.outcome for revision in history}
    cancelled = target.outcome is Outcome.CANCELED and outcomes.get(target.name) is Outcome.PENDING
    lost = before.open is not None and before.changes_config and target == base
    return Step(
        old,
        new,
        asked=target.config_version,
        new_version=target.config_version > max(revision.config_version for revision in history),
        serving=base.config_version if base else 0,
        taken_back=before.open.config_version if lost and before.open else 0,
        cancelled=target.config_version if cancelled else 0,
        tried_again=target.outcome is Outcome.PENDING and outcomes.get(target.name) in _ENDED,
    )


def _step_by_status(old: ServingEndpoint, new: ServingEndpoint) -> Step:
    new_version = old.spec.config != new.spec.config
    if not old.metadata.uid:
        return Step(old, new, asked=0, new_version=new_version)
    known = max(old.status.config_version, old.status.pending_config_version or 0)
    asked = known + 1 if new_version else known or 1
    return Step(old, new, asked=asked, new_version=new_version, serving=old.status.config_version)


def _update(endpoint: ServingEndpoint, history: History) -> Update:
    """What the operator would decide. Nothing is reshaped: versions do not hang on it."""
    base = serving(history) or history[-1]
    return plan_update(Observed(endpoint, history, base.shape, _NO_TIME, may_reshape=False))
