"""Where an endpoint stands between its config versions, as REST tells it. Pure. Called by `rest.py` and `openapi.py`.

The operator's status is believed for the generation that it observed. For a later one the answer is computed: clients
poll `config_update` right after their write, and would take a status of before for success.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.config import EndpointConfig
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import RETRY_ANNOTATION
from model_serving.api.status import ConfigUpdateState, DeploymentState, EntityState, ReadyState
from model_serving.lifecycle.revision import Outcome, Revision, serving
from model_serving.lifecycle.update import open_revision
from model_serving.stores import Stored

_ENDED = {Outcome.FAILED: ConfigUpdateState.UPDATE_FAILED, Outcome.CANCELED: ConfigUpdateState.UPDATE_CANCELED}
_ENDS = (Reason.UPDATE_FAILED, Reason.UPDATE_CANCELED)
_TOLD = (ConfigUpdateState.UPDATE_FAILED, ConfigUpdateState.UPDATE_CANCELED)


@dataclass(frozen=True, slots=True)
class Version:
    """A config version. `config` is as it was written, `started_at` RFC 3339."""

    number: int
    config: EndpointConfig
    started_at: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What REST shows as `config`, `pending_config` and `state`. `trouble` says why the last update failed or ended."""

    serving: Version | None
    pending: Version | None
    ready: ReadyState
    update: ConfigUpdateState
    trouble: str = ""

    @property
    def shown(self) -> Version:
        """The version that speaks for the endpoint: what serves, or else what is to."""
        version = self.serving or self.pending
        assert version is not None, "an endpoint without any version has no standing"
        return version


def standing(stored: Stored) -> Standing:
    """Where the endpoint stands.

    `pending` is there during an update only, with one exception: when no version has ever served there is no config to
    show, and a first version that failed stays pending, so that `get` has a place for the reason. And `serving` is
    there whenever nothing is updating: Terraform breaks without.
    """
    endpoint = stored.endpoint
    update = _update(stored)
    current = _serving(stored)
    if current is None and update is ConfigUpdateState.NOT_UPDATING:
        current = Version(max(endpoint.status.config_version, 1), endpoint.spec.config, _written_at(stored))
    wanted = _wanted(stored)
    updating = update is ConfigUpdateState.IN_PROGRESS and wanted is not None
    return Standing(
        serving=current,
        pending=wanted if updating or current is None else None,
        ready=endpoint.status.state.ready,
        update=update,
        trouble=_trouble(stored) if update in _TOLD else "",
    )


def entity_state(stored: Stored, stand: Standing, version: Version, name: str) -> EntityState:
    """How far an entity of `version` is."""
    known = _reported(stored.endpoint, version, name)
    if version is stand.serving:
        ready = stand.ready is ReadyState.READY
        state = known or EntityState(deployment=DeploymentState.READY if ready else DeploymentState.RECOVERING)
        # The pending version of a failed update is not shown: its reason has to stand here.
        return state.model_copy(update={"deployment_state_message": stand.trouble}) if stand.trouble else state
    if stand.update in _TOLD:
        message = (known and known.deployment_state_message) or stand.trouble
        return EntityState(deployment=DeploymentState.FAILED, deployment_state_message=message)
    return known if known and known.deployment in _UNDER_WAY else EntityState(deployment=DeploymentState.CREATING)


_UNDER_WAY = (DeploymentState.CREATING, DeploymentState.READY, DeploymentState.RECOVERING)


def as_written(config: Mapping[str, Any]) -> EndpointConfig:
    """The config of a revision, which holds defaults too, without them: what most probably was written."""
    full = EndpointConfig.model_validate(config)
    return EndpointConfig.model_validate(full.model_dump(by_alias=True, exclude_defaults=True))


def begun(stored: Stored, revision: Revision) -> str:
    """When a config version began: the start of its first revision."""
    same = [r.started_at for r in stored.history if r.config_version == revision.config_version and r.started_at]
    return min(same, default="")


def _observed(endpoint: ServingEndpoint) -> bool:
    return 0 < endpoint.status.observed_generation >= endpoint.metadata.generation


def _asked(stored: Stored) -> Mapping[str, Any]:
    return stored.endpoint.spec.config.manifest()


def _update(stored: Stored) -> ConfigUpdateState:
    endpoint, asked = stored.endpoint, _asked(stored)
    base, unfinished = serving(stored.history), open_revision(stored.history)
    mine = unfinished if unfinished is not None and unfinished.config == asked else None
    if mine is not None and (_tried_again(endpoint, mine) or _left_behind(endpoint, mine)):
        return ConfigUpdateState.IN_PROGRESS
    if _observed(endpoint):
        return endpoint.status.state.config_update
    if base is not None and base.config == asked:
        return ConfigUpdateState.NOT_UPDATING
    if mine is None:
        return ConfigUpdateState.IN_PROGRESS
    if mine.outcome is Outcome.PENDING and endpoint.status.pending_config_version == mine.config_version:
        return endpoint.status.state.config_update
    return _ENDED.get(mine.outcome, ConfigUpdateState.IN_PROGRESS)


def _tried_again(endpoint: ServingEndpoint, unfinished: Revision) -> bool:
    """Whether somebody has asked for another attempt that the operator has not begun."""
    word = endpoint.metadata.annotations.get(RETRY_ANNOTATION, "")
    return unfinished.outcome in _ENDED and word not in ("", unfinished.attempt)


def _left_behind(endpoint: ServingEndpoint, unfinished: Revision) -> bool:
    """Whether another attempt has begun, and the status still speaks of the end of the last one."""
    ended = any(c.type == ConditionType.STALLED and c.reason in _ENDS for c in endpoint.status.conditions)
    return unfinished.outcome is Outcome.PENDING and ended


def _serving(stored: Stored) -> Version | None:
    endpoint, base = stored.endpoint, serving(stored.history)
    told = endpoint.status.config_version
    if told > (base.config_version if base else 0) and (base is None or _observed(endpoint)):
        # The history is older than the status, or was lost.
        return Version(told, endpoint.spec.config, _written_at(stored))
    return _version(stored, base) if base else None


def _wanted(stored: Stored) -> Version | None:
    """What is asked for and does not serve."""
    endpoint, asked = stored.endpoint, _asked(stored)
    base, unfinished = serving(stored.history), open_revision(stored.history)
    if base is not None and base.config == asked:
        return None
    if unfinished is not None and unfinished.config == asked:
        return _version(stored, unfinished)
    told = endpoint.status.pending_config_version if _observed(endpoint) else None
    newest = max([endpoint.status.config_version, *(r.config_version for r in stored.history)])
    return Version(told or newest + 1, endpoint.spec.config, _written_at(stored))


def _version(stored: Stored, revision: Revision) -> Version:
    asked = stored.endpoint.spec.config
    config = asked if revision.config == asked.manifest() else as_written(revision.config)
    return Version(revision.config_version, config, begun(stored, revision))


def _written_at(stored: Stored) -> str:
    return stored.updated_at or stored.endpoint.metadata.creation_timestamp


def _reported(endpoint: ServingEndpoint, version: Version, name: str) -> EntityState | None:
    return next(
        (e.state for e in endpoint.status.served_entities if (e.config_version, e.name) == (version.number, name)), None
    )


def _trouble(stored: Stored) -> str:
    """Why the last update did not succeed, in the words of the operator."""
    return next((text for text in _troubles(stored) if text), "see the conditions of the endpoint's status")


def _troubles(stored: Stored) -> Iterator[str]:
    ended = open_revision(stored.history)
    if ended is not None and ended.outcome in _ENDED:
        verb = "failed" if ended.outcome is Outcome.FAILED else "was cancelled"
        cause = f"{ended.cause}: " if ended.outcome is Outcome.FAILED and ended.cause else ""
        yield f"the update to config version {ended.config_version} {verb}: {cause}{ended.message}"
    conditions = {c.type: c for c in stored.endpoint.status.conditions}
    for kind in (ConditionType.STALLED, ConditionType.READY):
        if condition := conditions.get(kind):
            yield f"{condition.reason}: {condition.message}"
