"""The Service of an endpoint: one stable address in front of its ready proxies."""

from __future__ import annotations

from collections.abc import Iterable

from model_serving.controller.desired.deployment import data_port_name
from model_serving.controller.desired.owner import Owner, child, pod_labels
from model_serving.kube.labels import UID_LABEL
from model_serving.kube.resources import SERVICES, Manifest
from model_serving.lifecycle.revision import Revision

_PORTS = {"http": 80, "https": 443}


def service(owner: Owner, revisions: Iterable[Revision] = ()) -> Manifest:
    """Port 80, or 443 with TLS, to the proxies' data port. Traffic policy and IP family are the cluster's choice.

    While `revisions`, those that pods may run, differ in that, both ports are there: each leads to the pods that
    call their port so, and none to a pod that speaks the other way.
    """
    names = sorted({data_port_name(revision) for revision in revisions} or {"http"})
    ports = [
        {"name": name, "port": _PORTS[name], "targetPort": name, "protocol": "TCP", "appProtocol": name}
        for name in names
    ]
    made = child(owner, SERVICES, {"spec": {"type": "ClusterIP", "selector": pod_labels(owner), "ports": ports}})
    made["metadata"]["labels"][UID_LABEL] = owner.uid  # Kubernetes copies it to the EndpointSlices, for the router
    return made


def service_url(owner: Owner, cluster_domain: str) -> str:
    """Where callers inside the cluster reach the proxies; `lifecycle/status.py` makes it https with TLS."""
    return f"http://{owner.name}.{owner.namespace}.svc.{cluster_domain}"
