"""The NetworkPolicy around an endpoint's proxies: who may call in, and where they may call out.

Policies know addresses and no host names: which *hosts* may be called is checked by the proxy itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from model_serving.api.endpoint import GROUP
from model_serving.controller.desired.deployment import ADMIN_PORT, DATA_PORT
from model_serving.controller.desired.owner import Owner, child, pod_labels
from model_serving.kube.labels import NAME_LABEL, OPERATOR, WORKSPACE
from model_serving.kube.resources import NETWORK_POLICIES, Manifest
from model_serving.lifecycle.proxy_config import build_proxy_config
from model_serving.lifecycle.revision import Revision

CLIENTS_LABEL = f"{GROUP}/clients"
"""Label of namespaces whose pods may call endpoints directly."""

_NAMESPACE_NAME = "kubernetes.io/metadata.name"
# Link-local addresses, and where clouds' metadata services lie outside those: Alibaba, Azure, Oracle; Amazon, Google.
_NEVER = {
    "0.0.0.0/0": ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"],
    "::/0": ["fe80::/10", "fd00:ec2::23/128", "fd00:ec2::254/128", "fd20:ce::254/128"],
}
_PRIVATE = {
    "0.0.0.0/0": ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"],
    "::/0": ["fc00::/7"],
}


IDENTITY_SERVICES: dict[str, list[tuple[str, int]]] = {
    "amazon-bedrock": [("169.254.170.23/32", 80), ("fd00:ec2::23/128", 80)],
    "google-cloud-vertex-ai": [("169.254.169.254/32", 80), ("169.254.169.252/32", 988), ("fd20:ce::254/128", 80)],
}
"""Where a pod learns who it is, by provider: the agent of EKS Pod Identity; Google's metadata server, whose address is
another one on GKE's older datapath before a policy sees it. IRSA needs none: its token is a file, and STS is public.

References: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html,
https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity
"""


@dataclass(frozen=True, slots=True)
class Egress:
    """Where an endpoint's proxies may call out to.

    `ports` are those of the providers, `private` says whether private addresses may be called. `own_ports` are those of
    the admin's services for all endpoints: the limits' common store, the collector of traces. `identity` names the
    providers that are called with the pod's own identity.
    """

    ports: Iterable[int]
    private: bool = False
    own_ports: Sequence[int] = ()
    identity: Iterable[str] = ()


def network_policy(owner: Owner, egress: Egress, operator_namespace: str) -> Manifest:
    """In from who calls and who watches, out to names and providers."""
    spec = {
        "podSelector": {"matchLabels": pod_labels(owner)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [_callers(), _watchers(operator_namespace)],
        "egress": [
            _names(),
            _providers(sorted(egress.ports), private=egress.private),
            *_identity(egress.identity),
            *_own(egress.own_ports),
        ],
    }
    return child(owner, NETWORK_POLICIES, {"spec": spec})


def upstream_ports(revision: Revision) -> set[int]:
    """The ports that a revision's providers are called at."""
    ports = {443}
    for target in build_proxy_config(revision).targets:
        for value in target.settings.values():
            if value.startswith(("https://", "http://")):
                url = urlsplit(value)
                ports.add(url.port or (443 if url.scheme == "https" else 80))
    return ports


def _callers() -> dict[str, Any]:
    return {
        "from": [
            {"podSelector": {"matchLabels": {NAME_LABEL: WORKSPACE}}},
            {"namespaceSelector": {"matchLabels": {CLIENTS_LABEL: "true"}}},
        ],
        "ports": [_tcp(DATA_PORT)],
    }


def _watchers(operator_namespace: str) -> dict[str, Any]:
    return {
        "from": [
            {
                "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: operator_namespace}},
                "podSelector": {"matchLabels": {NAME_LABEL: OPERATOR}},
            },
            {"podSelector": {"matchLabels": {NAME_LABEL: WORKSPACE}}},
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {NAME_LABEL: "prometheus"}}},
        ],
        "ports": [_tcp(ADMIN_PORT)],
    }


def _names() -> dict[str, Any]:
    # To anywhere: the resolver may be a pod, a node's cache on a link-local address, or a host.
    # 5353: where a resolver's pod listens on some platforms; a policy sees the port behind the Service.
    return {"ports": [entry for port in (53, 5353) for entry in ({"port": port, "protocol": "UDP"}, _tcp(port))]}


def _providers(ports: list[int], *, private: bool) -> dict[str, Any]:
    blocks = [
        {"ipBlock": {"cidr": cidr, "except": never + ([] if private else _PRIVATE[cidr])}}
        for cidr, never in _NEVER.items()
    ]
    # A Service's port becomes the pod's own port before the policy sees it, so that private ports are not known here.
    return {"to": blocks} if private else {"to": blocks, "ports": [_tcp(port) for port in ports]}


def _identity(providers: Iterable[str]) -> list[dict[str, Any]]:
    services = [service for name in sorted(providers) for service in IDENTITY_SERVICES.get(name, [])]
    return [{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [_tcp(port)]} for cidr, port in services]


def _own(ports: Sequence[int]) -> list[dict[str, Any]]:
    # To anywhere: the admin names them, and they may be pods, Services or addresses outside.
    return [{"ports": [_tcp(port) for port in ports]}] if ports else []


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}
