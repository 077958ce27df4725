"""The ServiceAccount of proxies that use a cloud's workload identity; others run as the namespace's default."""

from __future__ import annotations

from collections.abc import Mapping

from model_serving.controller.desired.owner import Owner, child
from model_serving.kube.resources import SERVICE_ACCOUNTS, Manifest
from model_serving.lifecycle.proxy_config import identity_providers
from model_serving.lifecycle.revision import Revision

SERVICE_ACCOUNT_SUFFIX = "proxy"


def account_annotations(revision: Revision) -> Mapping[str, str] | None:
    """Those of a revision's ServiceAccount; None when its pods have none of their own.

    Some clouds know a pod by the name of its account alone, without annotations (EKS Pod Identity, GKE).
    """
    annotations: Mapping[str, str] = revision.shape.proxy.get("serviceAccountAnnotations", {})
    return annotations if annotations or identity_providers(revision) else None


def service_account(owner: Owner, annotations: Mapping[str, str]) -> Manifest:
    """An account without any right and without a mounted token; its annotations name the cloud's identity."""
    body = {"automountServiceAccountToken": False}
    return child(owner, SERVICE_ACCOUNTS, body, suffix=SERVICE_ACCOUNT_SUFFIX, annotations=annotations)
