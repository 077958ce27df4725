"""The ServiceAccount of proxies that use a cloud's workload identity; others run as the namespace's default."""

from __future__ import annotations

from collections.abc import Mapping

from model_serving.controller.desired.owner import Owner, child
from model_serving.kube.resources import SERVICE_ACCOUNTS, Manifest

SERVICE_ACCOUNT_SUFFIX = "proxy"


def service_account(owner: Owner, annotations: Mapping[str, str]) -> Manifest:
    """An account without any right and without a mounted token; its annotations name the cloud's identity."""
    body = {"automountServiceAccountToken": False}
    return child(owner, SERVICE_ACCOUNTS, body, suffix=SERVICE_ACCOUNT_SUFFIX, annotations=annotations)
