"""When `spec.config` rests: one update at a time (rule 5 of the resource). Pure.

The admission policy `config-lock` says the same in CEL (`api/policies.py`); REST and the local platform call this.

Not locked are, on purpose: an endpoint that no operator has seen yet (nothing runs that a change could disturb, and a
typo can be corrected before the operator is there); an update that failed, stalled or was cancelled; a version that
waits for a Secret, at once and not only after its grace; and any change that leaves `spec.config` as it is. An
unobserved change locks whatever it was: nothing on the object tells an edit of tags from one of the config.
"""

from __future__ import annotations

from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import CANCEL_ANNOTATION, OVERRIDE_ANNOTATION
from model_serving.api.status import ConfigUpdateState, EndpointStatus

UNOBSERVED_TEXT = (
    "the last change (generation {generation}) is not yet observed by the operator: try again in a moment, or, if no "
    f'operator runs, set the annotation {OVERRIDE_ANNOTATION} to "{{generation}}" to replace it'
)
UPDATING_TEXT = (
    "an update is in progress (generation {generation}): wait until it ends (kubectl wait --for=condition=Ready), or "
    f'set the annotation {CANCEL_ANNOTATION} to "{{generation}}" to cancel it, or {OVERRIDE_ANNOTATION} to the same to '
    "replace it"
)


def config_lock(old: ServingEndpoint, new: ServingEndpoint) -> str | None:
    """Why the config of `old` may not become that of `new` now, with the remedy; None if it may."""
    if new.spec.config == old.spec.config or _overridden(old, new):
        return None
    if unobserved(old):
        return UNOBSERVED_TEXT.format(generation=old.metadata.generation)
    if updating(old.status):
        return UPDATING_TEXT.format(generation=old.metadata.generation)
    return None


def unobserved(endpoint: ServingEndpoint) -> bool:
    """Whether an operator knows the endpoint, but not its last change."""
    return 0 < endpoint.status.observed_generation < endpoint.metadata.generation


def updating(status: EndpointStatus) -> bool:
    """Whether an operator reported an update in progress that another one would have to wait for."""
    stalled = any(c.type == ConditionType.STALLED and c.status == "True" for c in status.conditions)
    waits = any(c.type == ConditionType.READY and c.reason == Reason.SECRET_NOT_FOUND for c in status.conditions)
    running = status.observed_generation > 0 and status.state.config_update is ConfigUpdateState.IN_PROGRESS
    return running and not stalled and not waits


def _overridden(old: ServingEndpoint, new: ServingEndpoint) -> bool:
    return new.metadata.annotations.get(OVERRIDE_ANNOTATION) == str(old.metadata.generation)
