"""The door of the life cycle: one endpoint's observation in, everything that should be done and said out.

Called by `controller/reconciler.py` and `local/`, on every look at an endpoint; the same observation gives the same
decision, so that calling it again is always harmless.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_serving.api.conditions import Reason
from model_serving.api.not_supported import not_supported
from model_serving.api.status import EndpointStatus
from model_serving.lifecycle.observed import Deadlines, Finding, Observed
from model_serving.lifecycle.proxy_config import build_policy, max_replicas, unshareable_limits
from model_serving.lifecycle.revision import History, Revision, serving
from model_serving.lifecycle.situation import Situation
from model_serving.lifecycle.status import build_status
from model_serving.lifecycle.update import kept, plan_update
from model_serving.proxy_config import Policy


@dataclass(frozen=True, slots=True)
class Decision:
    """What should be, for one endpoint.

    `history` replaces the stored one: what is missing in it is to be deleted, outcomes are to be updated.
    `target` is what the proxies should run, None: leave all children as they are. `policy` likewise.
    """

    history: History
    target: Revision | None
    policy: Policy | None
    status: EndpointStatus
    look_again: float | None
    """Seconds after which time alone may change the decision."""


def decide(observed: Observed, deadlines: Deadlines) -> Decision:
    """Everything that follows from one observation."""
    problem = _problem(observed)
    if problem is not None:
        situation = Situation(observed, deadlines, target=serving(observed.history), problem=problem)
        return Decision(observed.history, None, None, build_status(situation), None)
    update = plan_update(observed)
    policy = build_policy(
        observed.endpoint,
        max_replicas(observed.endpoint),
        observed.upstream_leave,
        issuers=observed.issuers,
        limits_store=observed.limits_store,
    )
    situation = Situation(observed, deadlines, update=update, target=update.target, policy=policy)
    status = build_status(situation)
    return Decision(kept(update.history), update.target, policy, status, situation.look_again)


def _problem(observed: Observed) -> Finding | None:
    if observed.problems:
        return observed.problems[0]
    for field, message in not_supported(observed.endpoint.spec):
        return Finding(Reason.NOT_SUPPORTED, f"spec.{field}: {message}")
    if observed.limits_store:
        return None  # the proxies count together
    return unshareable_limits(observed.endpoint, max_replicas(observed.endpoint))
