"""The ready proxies in the EndpointSlices of a Service. Pure; used by `table.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model_serving.kube.labels import NAME_LABEL, PROXY, UID_LABEL
from model_serving.kube.resources import Manifest
from model_serving.lifecycle.routing import Reach

_SERVICE = "kubernetes.io/service-name"
_FAMILIES = ("IPv4", "IPv6")

SELECTOR = f"{NAME_LABEL}={PROXY},endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io"
"""The slices that Kubernetes makes of our Services. Those that people write or mirror are never believed: calls, and
the router's own token with them, would go wherever their author likes."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What counts of one EndpointSlice. `owner_uid`: the endpoint's, empty where an older operator left none."""

    service: str
    owner_uid: str
    family: str
    plain: tuple[str, ...]
    tls: tuple[str, ...]


def read_slice(manifest: Manifest) -> Slice:
    """The Service of a slice, and HOST:PORT of its ready endpoints by what they speak."""
    labels = manifest["metadata"].get("labels") or {}
    family = str(manifest.get("addressType", ""))
    hosts = [_host(endpoint, family) for endpoint in manifest.get("endpoints") or [] if _is_ready(endpoint)]
    ports = {port.get("name"): port.get("port") for port in manifest.get("ports") or []}

    def at(name: str) -> tuple[str, ...]:
        port = ports.get(name)
        return tuple(f"{host}:{port}" for host in hosts if host) if port else ()

    return Slice(str(labels.get(_SERVICE, "")), str(labels.get(UID_LABEL, "")), family, at("http"), at("https"))


def reach_of(slices: Iterable[Slice], server_name: str) -> Reach:
    """Where to send calls. Of two address families one is enough: the same proxies stand behind both.

    While TLS is being turned on or off, proxies of both kinds are ready; the larger number serves all calls.
    """
    found = list(slices)
    for family in _FAMILIES:
        alike = [each for each in found if each.family == family]
        plain, tls = _sorted(each.plain for each in alike), _sorted(each.tls for each in alike)
        if plain or tls:
            uses_tls = len(tls) >= len(plain)
            return Reach(tls if uses_tls else plain, uses_tls, server_name)
    return Reach()


def _sorted(groups: Iterable[tuple[str, ...]]) -> list[str]:
    return sorted({address for group in groups for address in group})


def _is_ready(endpoint: Manifest) -> bool:
    # `ready` is false for whatever is on its way out; that it is missing means true.
    conditions = endpoint.get("conditions") or {}
    return conditions.get("ready") is not False and not conditions.get("terminating")


def _host(endpoint: Manifest, family: str) -> str:
    addresses = endpoint.get("addresses") or [""]
    return f"[{addresses[0]}]" if family == "IPv6" and addresses[0] else str(addresses[0])
