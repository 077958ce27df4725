"""The Service of an endpoint: one stable address in front of its ready proxies."""

from __future__ import annotations

from model_serving.controller.desired.owner import Owner, child, pod_labels
from model_serving.kube.resources import SERVICES, Manifest


def service(owner: Owner) -> Manifest:
    """Port 80, to the proxies' data port. Which kind of traffic policy or family it has is the cluster's choice."""
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}
    return child(owner, SERVICES, {"spec": {"type": "ClusterIP", "selector": pod_labels(owner), "ports": [port]}})


def service_url(owner: Owner, cluster_domain: str) -> str:
    """Where callers inside the cluster reach the proxies."""
    return f"http://{owner.name}.{owner.namespace}.svc.{cluster_domain}"
