"""Lets endpoints follow a change of the operator's image and settings a few at a time, and stops at the first failure.

Called by the reconciler before and after each decision. What it knows is rebuilt within one pass after a restart.
"""

from __future__ import annotations

from model_serving.controller.cache import Key
from model_serving.lifecycle.decide import Decision
from model_serving.lifecycle.observed import Observed
from model_serving.lifecycle.revision import Outcome, Shape, serving

AT_ONCE = 3


class ReshapeGate:
    """Counts the roll-outs that the operator itself has caused."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._rolling: set[Key] = set()
        self._failed: set[Key] = set()

    def may_pass(self, key: Key) -> bool:
        """Whether this endpoint may follow now."""
        if key in self._rolling or key in self._failed:
            return True
        return not self._failed and len(self._rolling) < self._at_once

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
        elif target.number > base.number:
            self._rolling.add(key)

    def forget(self, key: Key) -> None:
        """The endpoint is gone, or its matter is settled."""
        self._rolling.discard(key)
        self._failed.discard(key)


def _operators_part(shape: Shape) -> tuple[str, object]:
    return shape.image, dict(shape.platform)
