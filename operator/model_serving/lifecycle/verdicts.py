"""What is to be said of an endpoint: an ordered tuple of small checks over one `Situation`; the first that speaks wins.

Each check relies on those before it: problems forbid everything else, refusals and missing Secrets explain what would
otherwise look like slow progress, an update in progress comes before the health of what serves.
The table that this implements is in design section 5; `tests/lifecycle/test_status.py` has a row for each of its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model_serving.api.conditions import Reason
from model_serving.api.names import CANCEL_ANNOTATION, RETRY_ANNOTATION
from model_serving.api.status import ConfigUpdateState
from model_serving.lifecycle.proxy_config import nobody_may_call
from model_serving.lifecycle.revision import Outcome
from model_serving.lifecycle.situation import Situation


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table. `ready` None: as available as the endpoint is; `known` False: nothing is known yet."""

    reason: str
    message: str
    ready: bool | None = False
    reconciling: bool = False
    stalled: bool = False
    config_update: ConfigUpdateState = ConfigUpdateState.NOT_UPDATING
    known: bool = True


Check = Callable[[Situation], Verdict | None]


def judge(situation: Situation) -> Verdict:
    """The first check that speaks; the last one always does."""
    for check in CHECKS:
        verdict = check(situation)
        if verdict is not None:
            return verdict
    raise AssertionError("the last check always speaks")


def _problem_forbids(s: Situation) -> Verdict | None:
    if s.problem is None:
        return None
    return Verdict(s.problem.reason, s.problem.message, stalled=True, config_update=ConfigUpdateState.UPDATE_FAILED)


def _just_seen(s: Situation) -> Verdict | None:
    if s.rollout is not None or s.observed.endpoint.status.observed_generation or s.refusal:
        return None
    return Verdict(
        Reason.RECONCILING,
        "the endpoint was just seen",
        reconciling=True,
        config_update=ConfigUpdateState.IN_PROGRESS,
        known=False,
    )


def _open_state(s: Situation, ended: bool) -> ConfigUpdateState:
    """What an unfinished matter means for the config: nothing, unless a version is open."""
    if not s.changes_config:
        return ConfigUpdateState.NOT_UPDATING
    return ConfigUpdateState.UPDATE_FAILED if ended else ConfigUpdateState.IN_PROGRESS


def _child_refused(s: Situation) -> Verdict | None:
    if not s.refusal or (s.open is not None and s.open.outcome is not Outcome.PENDING):
        return None
    late = s.overdue(s.progress_due)
    return Verdict(
        Reason.REPLICA_FAILURE,
        f"the API server refuses an object of the endpoint: {s.refusal}",
        reconciling=not late,
        stalled=late,
        config_update=_open_state(s, late),
    )


def _secret_missing(s: Situation) -> Verdict | None:
    finding = s.missing_secret
    if finding is None:
        return None
    late = s.overdue(s.secret_due)
    return Verdict(
        Reason.SECRET_NOT_FOUND,
        finding.message,
        reconciling=not late,
        stalled=late,
        config_update=_open_state(s, late),
    )


def _update_failed(s: Situation) -> Verdict | None:
    if not (s.changes_config and s.open and s.open.outcome is Outcome.FAILED and s.serving):
        return None
    return Verdict(
        Reason.UPDATE_FAILED,
        f"config version {s.open.config_version} failed and was taken back, version {s.serving.config_version} serves: "
        f"{s.open.cause}: {s.open.message}; correct spec.config, or set the annotation {RETRY_ANNOTATION} "
        "to a new value",
        stalled=True,
        config_update=ConfigUpdateState.UPDATE_FAILED,
    )


def _update_canceled(s: Situation) -> Verdict | None:
    if not (s.changes_config and s.open and s.open.outcome is Outcome.CANCELED and s.serving):
        return None
    return Verdict(
        Reason.UPDATE_CANCELED,
        f"config version {s.open.config_version} was cancelled by the annotation {CANCEL_ANNOTATION}, version "
        f"{s.serving.config_version} serves although spec.config still asks for the new one; change spec.config back, "
        f"or set the annotation {RETRY_ANNOTATION} to a new value to roll it out after all",
        stalled=True,
        config_update=ConfigUpdateState.UPDATE_CANCELED,
    )


def _cause(s: Situation) -> str:
    return "; ".join(f"{f.reason}: {f.message}" for f in s.findings)


def _first_version_starting(s: Situation) -> Verdict | None:
    if s.serving is not None or s.open is None:
        return None
    own = s.rollout is not None and s.rollout.settled and s.target is not None and s.rollout.revision == s.target.name
    if own and s.rollout is not None and s.rollout.deadline_exceeded:
        return Verdict(
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"config version {s.open.config_version} did not become ready in time and is kept trying: "
            f"{_cause(s) or 'no proxy became ready'}",
            stalled=True,
            config_update=ConfigUpdateState.UPDATE_FAILED,
        )
    cause = _cause(s)
    return Verdict(
        Reason.PROGRESSING,
        f"config version {s.open.config_version} is starting" + (f": {cause}" if cause else ""),
        reconciling=True,
        config_update=ConfigUpdateState.IN_PROGRESS,
    )


def _new_version_starting(s: Situation) -> Verdict | None:
    if not (s.changes_config and s.open and s.serving):
        return None
    cause = _cause(s)
    return Verdict(
        Reason.ROLLOUT_IN_PROGRESS,
        f"config version {s.open.config_version} is starting, version {s.serving.config_version} serves"
        + (f": {cause}" if cause else ""),
        reconciling=True,
        config_update=ConfigUpdateState.IN_PROGRESS,
    )


def _shape_failed(s: Situation) -> Verdict | None:
    if s.open is None or s.open.outcome is not Outcome.FAILED:
        return None
    return Verdict(
        Reason.ROLLOUT_FAILED,
        f"a new image or proxy setting did not become ready and was taken back, config version "
        f"{s.open.config_version} serves on the old pods: {s.open.cause}: {s.open.message}; correct spec.proxy or the "
        f"operator's image, or set the annotation {RETRY_ANNOTATION} to a new value",
        stalled=True,
    )


def _shape_rolling(s: Situation) -> Verdict | None:
    if s.open is None:
        return None
    cause = _cause(s)
    return Verdict(
        Reason.ROLLOUT_IN_PROGRESS,
        "a new image or proxy setting is rolling out" + (f": {cause}" if cause else ""),
        ready=None,
        reconciling=True,
    )


def _proxies_lost(s: Situation) -> Verdict | None:
    if s.ready > 0:
        return None
    cause = _cause(s)
    return Verdict(
        Reason.RECOVERING,
        "all proxies were lost and are being replaced" + (f": {cause}" if cause else ""),
        reconciling=True,
    )


def _fine(s: Situation) -> Verdict:
    message = f"config version {s.serving.config_version} serves" if s.serving else ""
    wanted = s.rollout.replicas if s.rollout else 0
    if s.ready < wanted:
        cause = _cause(s)
        message += f" on {s.ready} of {wanted} proxies" + (f": {cause}" if cause else "")
    if nobody_may_call(s.observed.endpoint):
        message += "; nobody may call it: give somebody CAN_QUERY in spec.access"
    return Verdict(Reason.READY, message, ready=True)


CHECKS: tuple[Check, ...] = (
    _problem_forbids,
    _just_seen,
    _child_refused,
    _secret_missing,
    _update_failed,
    _update_canceled,
    _first_version_starting,
    _new_version_starting,
    _shape_failed,
    _shape_rolling,
    _proxies_lost,
    _fine,
)
