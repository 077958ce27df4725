"""The update state machine: from the history, the spec and what runs, to the history and the revision that should run.

Rules (design section 6):

* one version is pending at most; the newest config supersedes;
* a config equal to the serving one makes no version, it takes a pending or failed one back;
* a failed or cancelled version is tried again when the config changes or the retry annotation gets a new value;
* a version that lacks only a Secret is not taken back; the first version never is, there is nothing to go back to;
* image and settings follow the version that is wanted, as revisions of the same version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from model_serving.api.conditions import Cause, ConditionType, Reason
from model_serving.api.names import CANCEL_ANNOTATION, RETRY_ANNOTATION
from model_serving.lifecycle.observed import Finding, Observed, Rollout
from model_serving.lifecycle.revision import History, Outcome, Revision, Shape, next_number, put, serving

SECRET_CAUSES = (Cause.SECRET_NOT_FOUND, Cause.SECRET_KEY_NOT_FOUND)
_OPEN = (Outcome.PENDING, Outcome.FAILED, Outcome.CANCELED)


@dataclass(frozen=True, slots=True)
class Update:
    """Where an endpoint stands between its versions."""

    history: History
    target: Revision
    """What the proxies should run."""

    @property
    def serving(self) -> Revision | None:
        """The revision that serves."""
        return serving(self.history)

    @property
    def open(self) -> Revision | None:
        """The revision that is asked for and does not serve: pending, failed or cancelled."""
        return open_revision(self.history)

    @property
    def changes_config(self) -> bool:
        """Whether the open revision is a new config version, not just another shape of the serving one."""
        base = self.serving
        return self.open is not None and (base is None or self.open.config_version > base.config_version)


def plan_update(observed: Observed) -> Update:
    """What should run, given what is asked for and how the running roll-out stands."""
    history = _note_cancel(observed, observed.history)
    history = _note_retry(observed, history)
    history, target = _choose(observed, history)
    return _judge(Update(put(history, target), target), observed)


def _order(revision: Revision) -> tuple[int, int]:
    return revision.config_version, revision.number


def _newest(history: History, outcomes: tuple[Outcome, ...]) -> Revision | None:
    return max((r for r in history if r.outcome in outcomes), key=_order, default=None)


def open_revision(history: History) -> Revision | None:
    """The newest revision without success. What is older than the serving one has no say any more, but a failed
    version stays open while the serving version is given another shape (a higher number of a lower version)."""
    newest, base = _newest(history, _OPEN), serving(history)
    return newest if newest and (base is None or _order(newest) > _order(base)) else None


def _stamp(observed: Observed) -> str:
    return observed.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _note_cancel(observed: Observed, history: History) -> History:
    """Takes the pending version back if the annotation names its generation, or a later one that still asks for it."""
    pending, base = _newest(history, (Outcome.PENDING,)), serving(history)
    if pending is None or base is None or pending.config_version == base.config_version:
        return history
    meta = observed.endpoint.metadata
    word = meta.annotations.get(CANCEL_ANNOTATION, "")
    if pending.cause and word != pending.cause:
        history = put(history, pending := replace(pending, cause=""))
    if word and word == pending.cause:
        # This very word has cancelled it before; it was asked for again since.
        return history
    if not (word.isascii() and word.isdigit() and pending.generation <= int(word) <= meta.generation):
        return history
    if _asked(observed) != pending.config:
        return history
    message = f"cancelled by the annotation {CANCEL_ANNOTATION}"
    return put(history, pending.ended(Outcome.CANCELED, cause=word, message=message))


def _note_retry(observed: Observed, history: History) -> History:
    """Starts a failed or cancelled revision again if the retry annotation has a value that it has not seen."""
    word = observed.endpoint.metadata.annotations.get(RETRY_ANNOTATION, "")
    ended = open_revision(history)
    if ended is None or ended.outcome is Outcome.PENDING or not word or word == ended.attempt:
        return history
    again = replace(
        ended,
        outcome=Outcome.PENDING,
        cause=ended.cause if ended.outcome is Outcome.CANCELED else "",
        message="",
        attempt=word,
        started_at=_stamp(observed),
        generation=observed.endpoint.metadata.generation,
        number=next_number(history),
    )
    return put(history, again)


def _asked(observed: Observed) -> Mapping[str, Any]:
    return observed.endpoint.spec.config.manifest()


def _choose(observed: Observed, history: History) -> tuple[History, Revision]:
    """The revision that is wanted; revisions that lost their purpose are marked."""
    base, asked = serving(history), _asked(observed)
    newest_open = open_revision(history)
    if base is not None and base.config == asked:
        history = _supersede(history, lambda r: r.config_version != base.config_version)
        return _reshape(observed, history, base)
    if newest_open is None or newest_open.config != asked:
        return _supersede(history, lambda r: True), _new_version(observed, history, asked)
    if newest_open.outcome is Outcome.PENDING or base is None:
        # Another shape of the serving version, under way while this one had failed, has lost its purpose.
        history = _supersede(history, lambda r: r.config_version != newest_open.config_version)
        return _reshape(observed, history, newest_open)
    # Failed or cancelled: the serving version goes on, and it alone follows changes of image and settings.
    return _reshape(observed, history, base)


def _new_version(observed: Observed, history: History, config: Mapping[str, Any]) -> Revision:
    known = observed.endpoint.status.config_version
    if not history and known and observed.rollout is not None:
        # The history was lost: what runs is recognised by its name, so that nothing is rolled out anew.
        running = _fresh(observed, history, config, known)
        if running.name == observed.rollout.revision:
            return running
    newest = max((r.config_version for r in history), default=0)
    return _fresh(observed, history, config, max(newest, known) + 1)


def _supersede(history: History, which: Callable[[Revision], bool]) -> History:
    for revision in history:
        if revision.outcome in _OPEN and which(revision):
            history = put(history, revision.ended(Outcome.SUPERSEDED))
    return history


def _fresh(observed: Observed, history: History, config: Mapping[str, Any], version: int) -> Revision:
    endpoint = observed.endpoint
    return Revision(
        endpoint=endpoint.endpoint_name,
        config=config,
        config_version=version,
        shape=observed.shape,
        number=next_number(history),
        generation=endpoint.metadata.generation,
        started_at=_stamp(observed),
        attempt=endpoint.metadata.annotations.get(RETRY_ANNOTATION, ""),
    )


def _reshape(observed: Observed, history: History, base: Revision) -> tuple[History, Revision]:
    """`base`'s version in the shape that is wanted now."""
    shape = observed.shape
    if not observed.may_reshape:
        shape = Shape(base.shape.image, shape.proxy, base.shape.platform)
    if shape.manifest() == base.shape.manifest():
        # Another shape of the same version that was under way has lost its purpose.
        lost = base.outcome is Outcome.SERVED
        history = _supersede(history, lambda r: lost and r.config_version == base.config_version and r != base)
        return history, base
    wanted = replace(_fresh(observed, history, base.config, base.config_version), shape=shape)
    if base.outcome is Outcome.PENDING:
        wanted = replace(wanted, generation=base.generation, attempt=base.attempt, cause=base.cause)
    known = next((r for r in history if r.name == wanted.name), None)
    if known is not None and known.outcome in (Outcome.PENDING, Outcome.FAILED):
        wanted = known
    history = _supersede(
        history, lambda r: r.config_version == base.config_version and r.name != wanted.name and r.number >= base.number
    )
    if wanted.outcome is Outcome.FAILED:
        return history, base
    return history, wanted


def _judge(update: Update, observed: Observed) -> Update:
    """What the running roll-out says of the target: done, failed, or neither."""
    target, base, rollout = update.target, update.serving, observed.rollout
    if rollout is None or rollout.revision != target.name or not rollout.settled:
        return update
    if target.outcome is not Outcome.SERVED and rollout.complete:
        done = target.ended(Outcome.SERVED)
        return Update(put(update.history, done), done)
    if target.outcome is not Outcome.PENDING or base is None or not rollout.deadline_exceeded:
        return update
    if lacks_only_secrets(rollout) or _unheard(observed, rollout):
        return update
    cause = main_cause(rollout)
    failed = target.ended(Outcome.FAILED, cause.reason, cause.message)
    return Update(put(update.history, failed), base)


def _unheard(observed: Observed, rollout: Rollout) -> bool:
    """Whether nothing is heard just now of proxies that were last known to lack a Secret: no reason to give them up."""
    last = (c.reason for c in observed.endpoint.status.conditions if c.type == ConditionType.READY)
    return not rollout.findings and not rollout.refusal and Reason.SECRET_NOT_FOUND in last


def lacks_only_secrets(rollout: Rollout) -> bool:
    """Whether nothing but a missing Secret or key keeps the proxies from being ready."""
    return bool(rollout.findings) and all(f.reason in SECRET_CAUSES for f in rollout.findings)


def main_cause(rollout: Rollout) -> Finding:
    """The most telling reason why the roll-out does not move."""
    if rollout.findings:
        return rollout.findings[0]
    if rollout.refusal:
        return Finding(Reason.REPLICA_FAILURE, rollout.refusal)
    return Finding(
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        f"{rollout.updated_ready} of {rollout.replicas} new proxies became ready before the progress deadline",
    )


def kept(history: History, versions: int = 10) -> History:
    """The part of the history worth keeping: serving, pending, the newest versions, and the newest revisions."""
    last_of = {r.config_version: r for r in sorted(history, key=lambda r: r.number)}
    worth = [last_of[version] for version in sorted(last_of, reverse=True)[:versions]]
    worth += sorted(history, key=lambda r: r.number)[-versions:]
    base = serving(history)
    return tuple(r for r in history if r in worth or r == base or r.outcome is Outcome.PENDING)
