"""The router's table, kept from what two watches tell: ServingEndpoints, and the EndpointSlices of their Services.

Filled and read by `feed.py`. A gap in a watch changes nothing: only a deletion, or a list without the object, does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from model_serving.api.status import EndpointStatus
from model_serving.kube.resources import ENDPOINTS, Manifest, Resource
from model_serving.kube.routing.slices import Slice, reach_of, read_slice
from model_serving.lifecycle.proxy_config import grants_of
from model_serving.lifecycle.reading import age_of, read_endpoint
from model_serving.lifecycle.routing import table_entry
from model_serving.proxy_config import Entry, Grant


@dataclass(frozen=True, slots=True)
class _Known:
    """What counts of one ServingEndpoint."""

    endpoint_name: str
    uid: str
    age: tuple[str, str]
    status: EndpointStatus
    grants: list[Grant]


class Table:
    """A `Listener` of both watches; `dirty` is called whenever the table may have become another."""

    def __init__(self, namespace: str, cluster_domain: str, dirty: Callable[[], None]) -> None:
        self._service_domain = f"{namespace}.svc.{cluster_domain}"
        self._dirty = dirty
        self._endpoints: dict[str, _Known] = {}
        self._slices: dict[str, Slice] = {}

    def changed(self, resource: Resource, manifest: Manifest) -> None:
        """An object was added or modified. One that is being deleted is gone already."""
        name, leaving = manifest["metadata"]["name"], manifest["metadata"].get("deletionTimestamp")
        if leaving:
            self._drop(resource, name)
        elif resource is ENDPOINTS:
            self._endpoints[name] = _known(manifest)
        else:
            self._slices[name] = read_slice(manifest)
        self._dirty()

    def deleted(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """An object is gone."""
        self._drop(resource, name)
        self._dirty()

    def entries(self) -> dict[str, Entry]:
        """The table as it is now. Of two endpoints of one name the older one has it."""
        slices: dict[str, list[Slice]] = defaultdict(list)
        for each in self._slices.values():
            slices[each.service].append(each)
        table: dict[str, Entry] = {}
        for name, known in sorted(self._endpoints.items(), key=lambda item: item[1].age):
            if known.endpoint_name not in table:
                table[known.endpoint_name] = self._entry(name, known, slices[name])
        return table

    def _entry(self, name: str, known: _Known, slices: list[Slice]) -> Entry:
        # A deleted namesake's proxies go on for a moment: they are not this endpoint's.
        own = [each for each in slices if each.owner_uid in ("", known.uid)]
        return table_entry(known.status, known.grants, reach_of(own, f"{name}.{self._service_domain}"))

    def _drop(self, resource: Resource, name: str) -> None:
        if resource is ENDPOINTS:
            self._endpoints.pop(name, None)
        else:
            self._slices.pop(name, None)


def _known(manifest: Manifest) -> _Known:
    endpoint, problem = read_endpoint(manifest)
    grants = grants_of(endpoint) if problem is None else []
    return _Known(endpoint.endpoint_name, endpoint.metadata.uid, age_of(manifest), endpoint.status, grants)
