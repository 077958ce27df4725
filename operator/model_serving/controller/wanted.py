"""All children that an endpoint should have, in the order in which they are written. Pure; called by the reconciler."""

from __future__ import annotations

from model_serving.api.endpoint import ServingEndpoint
from model_serving.controller.desired.config_map import config_map, policy_map
from model_serving.controller.desired.deployment import deployment
from model_serving.controller.desired.network_policy import Egress, network_policy, upstream_ports
from model_serving.controller.desired.owner import Owner
from model_serving.controller.desired.pod_disruption_budget import pod_disruption_budget
from model_serving.controller.desired.revision import controller_revision
from model_serving.controller.desired.role import roles
from model_serving.controller.desired.service import service
from model_serving.controller.desired.service_account import account_annotations, service_account
from model_serving.controller.settings import Settings, own_ports
from model_serving.kube.resources import Manifest
from model_serving.lifecycle.decide import Decision
from model_serving.lifecycle.observed import Observed
from model_serving.lifecycle.proxy_config import build_proxy_config, identity_providers
from model_serving.lifecycle.revision import Outcome, Revision, serving


def wanted_children(owner: Owner, observed: Observed, decision: Decision, settings: Settings) -> list[Manifest]:
    """What should exist. History first, so that an outcome is on record before anything follows from it; what pods
    mount before the pods."""
    target, policy = decision.target, decision.policy
    if target is None or policy is None:
        return []
    in_use = _in_use(observed, decision)
    return [
        *(controller_revision(owner, revision) for revision in decision.history),
        *_accounts(owner, target),
        *(config_map(owner, build_proxy_config(revision)) for revision in in_use),
        policy_map(owner, policy),
        *(roles(owner, observed.endpoint) if settings.manage_access else []),
        service(owner, in_use),
        *_network_policies(owner, in_use, observed, settings),
        deployment(owner, target, observed.endpoint.spec.proxy.replicas, settings),
        *_budgets(owner, observed.endpoint),
    ]


def _in_use(observed: Observed, decision: Decision) -> list[Revision]:
    """The revisions that pods may run: what should run, what serves, what is pending, what ran when looked at."""
    base = serving(decision.history)
    running = observed.rollout.revision if observed.rollout else ""
    return [
        revision
        for revision in decision.history
        if revision in (decision.target, base) or revision.outcome is Outcome.PENDING or revision.name == running
    ]


def _accounts(owner: Owner, target: Revision) -> list[Manifest]:
    annotations = account_annotations(target)
    return [] if annotations is None else [service_account(owner, annotations)]


def _network_policies(owner: Owner, in_use: list[Revision], observed: Observed, settings: Settings) -> list[Manifest]:
    if not settings.network_policies:
        return []
    egress = Egress(
        ports={port for revision in in_use for port in upstream_ports(revision)},
        private=observed.upstream_leave != "public",
        own_ports=own_ports(settings),
        identity={provider for revision in in_use for provider in identity_providers(revision)},
    )
    return [network_policy(owner, egress, settings.operator_namespace)]


def _budgets(owner: Owner, endpoint: ServingEndpoint) -> list[Manifest]:
    return [pod_disruption_budget(owner)] if endpoint.spec.proxy.replicas > 1 else []
