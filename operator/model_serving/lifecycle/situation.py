"""One endpoint's situation: the observation together with what was decided about it. Read by `status.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from model_serving.api.conditions import ConditionType
from model_serving.api.status import Condition
from model_serving.lifecycle.observed import Deadlines, Finding, Observed, Rollout
from model_serving.lifecycle.revision import Revision, serving
from model_serving.lifecycle.update import Update, lacks_only_secrets
from model_serving.proxy_config import Policy


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time; None if it is empty or unreadable."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Situation:
    """Facts that the checks ask for, each derived in one place."""

    observed: Observed
    deadlines: Deadlines
    target: Revision | None
    update: Update | None = None
    policy: Policy | None = None
    problem: Finding | None = None

    @property
    def serving(self) -> Revision | None:
        """The revision that serves."""
        return self.update.serving if self.update else serving(self.observed.history)

    @property
    def open(self) -> Revision | None:
        """The revision that is asked for and does not serve."""
        return self.update.open if self.update else None

    @property
    def changes_config(self) -> bool:
        """Whether the open revision is another config version."""
        return self.update is not None and self.update.changes_config

    @property
    def rollout(self) -> Rollout | None:
        """The proxies."""
        return self.observed.rollout

    @property
    def ready(self) -> int:
        """How many proxies are ready."""
        return self.rollout.ready if self.rollout else 0

    @property
    def available(self) -> bool:
        """Whether some version answers calls."""
        return self.serving is not None and self.ready > 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Why proxies of the target are not ready."""
        if self.rollout is None or self.target is None or self.rollout.revision != self.target.name:
            return ()
        return self.rollout.findings

    @property
    def missing_secret(self) -> Finding | None:
        """The Secret or key whose absence alone keeps the target's proxies from being ready."""
        if self.findings and self.rollout is not None and lacks_only_secrets(self.rollout):
            return self.findings[0]
        return None

    @property
    def secret_due(self) -> datetime | None:
        """When the grace for a missing Secret ends."""
        return self._since_trouble(self.deadlines.secret_grace)

    @property
    def progress_due(self) -> datetime | None:
        """When a refused child counts as stalled."""
        return self._since_trouble(self.deadlines.progress)

    def overdue(self, due: datetime | None) -> bool:
        """Whether that moment has come."""
        return due is not None and due <= self.observed.now

    @property
    def look_again(self) -> float | None:
        """Seconds until time alone may change what is said."""
        if self.missing_secret is None and not self.refusal:
            return None
        due = self.secret_due if self.missing_secret else self.progress_due
        left = (due - self.observed.now).total_seconds() if due else 0.0
        return max(left, 0.0) + 0.1 if not self.overdue(due) else None

    @property
    def refusal(self) -> str:
        """The words with which the platform refuses a child."""
        return self.observed.refusal or (self.rollout.refusal if self.rollout else "")

    def previous(self, kind: ConditionType) -> Condition | None:
        """A condition as it was written last."""
        return next((c for c in self.observed.endpoint.status.conditions if c.type == kind), None)

    def _since_trouble(self, seconds: float) -> datetime | None:
        """A moment so many seconds after the open revision began, or, with none open, after Ready was lost."""
        start = parse_time(self.open.started_at) if self.open else None
        if start is None:
            ready = self.previous(ConditionType.READY)
            lost = ready is not None and ready.status == "False"
            start = parse_time(ready.last_transition_time) if ready and lost else self.observed.now
        return start + timedelta(seconds=seconds) if start else None
