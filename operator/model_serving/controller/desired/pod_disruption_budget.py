"""The PodDisruptionBudget of an endpoint with more than one proxy."""

from __future__ import annotations

from model_serving.controller.desired.owner import Owner, child, pod_labels
from model_serving.kube.resources import POD_DISRUPTION_BUDGETS, Manifest


def pod_disruption_budget(owner: Owner) -> Manifest:
    """One proxy at a time may be evicted; one that is not ready always may, so that it never blocks a node's drain."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": pod_labels(owner)},
    }
    return child(owner, POD_DISRUPTION_BUDGETS, {"spec": spec})
