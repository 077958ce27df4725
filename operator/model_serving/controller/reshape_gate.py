"""Lets endpoints follow a change of the operator's image and settings a few at a time, and stops at the first failure.

Asked by the reconciler before each decision and told what came of it. What it knows is rebuilt within one pass after a
restart: an endpoint that is on its way already always goes on.
"""

from __future__ import annotations

from model_serving.controller.cache import Key
from model_serving.lifecycle.decide import Decision
from model_serving.lifecycle.observed import Observed
from model_serving.lifecycle.revision import History, Outcome, Shape, serving
from model_serving.lifecycle.update import lacks_only_secrets

AT_ONCE = 3


class ReshapeGate:
    """Counts the roll-outs that the operator itself has caused."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._rolling: set[Key] = set()
        self._failed: set[Key] = set()

    def may_pass(self, key: Key, history: History, wanted: Shape) -> bool:
        """Whether this endpoint may follow now. A yes takes one of the few places, for others may be asked about
        before it is known what comes of this one."""
        base = serving(history)
        if base is None or _operators_part(base.shape) == _operators_part(wanted) or key in self._rolling:
            return True
        if any(_is_under_way(r.outcome) and _operators_part(r.shape) == _operators_part(wanted) for r in history):
            return True
        if self._failed or len(self._rolling) >= self._at_once:
            return False
        self._rolling.add(key)
        return True

    def note(self, key: Key, observed: Observed, decision: Decision) -> None:
        """Takes in what was decided for the endpoint."""
        self.forget(key)
        base, target = serving(decision.history), decision.target
        if base is None or target is None or _operators_part(base.shape) == _operators_part(observed.shape):
            return
        tried = [
            r
            for r in decision.history
            if r.config_version == base.config_version and _operators_part(r.shape) == _operators_part(observed.shape)
        ]
        if any(r.outcome is Outcome.FAILED for r in tried):
            self._failed.add(key)
        elif target in tried and not _waits_for_a_secret(observed):
            # What waits for a Secret may wait for days: it must not keep the others from being upgraded.
            self._rolling.add(key)

    def forget(self, key: Key) -> None:
        """The endpoint is gone, or its matter is settled."""
        self._rolling.discard(key)
        self._failed.discard(key)


def _is_under_way(outcome: Outcome) -> bool:
    return outcome in (Outcome.PENDING, Outcome.FAILED)


def _waits_for_a_secret(observed: Observed) -> bool:
    return observed.rollout is not None and lacks_only_secrets(observed.rollout)


def _operators_part(shape: Shape) -> tuple[str, object]:
    return shape.image, dict(shape.platform)
