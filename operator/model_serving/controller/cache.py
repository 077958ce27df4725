"""What the operator remembers of the cluster: endpoints, their Deployments, and the metadata of their other children.

Filled by Kopf's events and our own watches, read by the reconciler. Slim: a thousand endpoints fit into a few dozen
megabytes. It never steps back in time, and a sweep finds what vanished unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from model_serving.api.endpoint import KIND
from model_serving.kube.labels import ENDPOINT_LABEL
from model_serving.kube.resources import DEPLOYMENTS, ENDPOINTS, Manifest, Resource

Key = tuple[str, str]
"""Namespace and name of an endpoint."""

DESIRED_HASH = "model-serving.dev/desired-hash"
"""Annotation of a child: the digest of what we last asked for."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Child:
    """What is remembered of a child."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    version: str
    generation: int
    owner_uid: str
    owner_kind: str
    labels: dict[str, str]
    desired_hash: str
    deleting: bool

    @property
    def endpoint(self) -> Key:
        """The endpoint whose label it carries."""
        return self.namespace, self.labels.get(ENDPOINT_LABEL, "")

    @property
    def token(self) -> str:
        """Changes whenever somebody changes what we could have an opinion on: the generation where there is one,
        since status updates leave it alone, else the resource version."""
        return f"g{self.generation}" if self.generation else f"v{self.version}"


def parse_child(resource: Resource, manifest: Manifest) -> Child:
    """From a whole object or its metadata."""
    meta = manifest["metadata"]
    owner: dict[str, str] = next((ref for ref in meta.get("ownerReferences") or [] if ref.get("controller")), {})
    return Child(
        resource=resource,
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        version=meta.get("resourceVersion", ""),
        generation=int(meta.get("generation") or 0),
        owner_uid=owner.get("uid", ""),
        owner_kind=owner.get("kind", ""),
        labels=dict(meta.get("labels") or {}),
        desired_hash=(meta.get("annotations") or {}).get(DESIRED_HASH, ""),
        deleting=bool(meta.get("deletionTimestamp")),
    )


class Cache:
    """All of it, for all endpoints. Not thread-safe."""

    def __init__(self) -> None:
        self.filled = asyncio.Event()
        """Set once everything that existed at the start is known: before, no decision may be taken."""
        self._endpoints: dict[Key, Manifest] = {}
        self._deployments: dict[Key, Manifest] = {}
        self._children: dict[tuple[str, str, str], Child] = {}
        self._by_endpoint: dict[Key, set[tuple[str, str, str]]] = {}
        self._tokens: dict[str, str] = {}

    # Reading

    def endpoint(self, key: Key) -> Manifest | None:
        """The endpoint as it was last seen, with its status."""
        return self._endpoints.get(key)

    def deployment(self, key: Key) -> Manifest | None:
        """Its Deployment, slim: metadata, replicas, the template's annotations, status."""
        return self._deployments.get(key)

    def child(self, resource: Resource, namespace: str, name: str) -> Child | None:
        """One child, a Deployment included."""
        return self._children.get((resource.kind, namespace, name))

    def children(self, key: Key, resource: Resource | None = None) -> list[Child]:
        """The children that carry an endpoint's label, whoever owns them."""
        found = (self._children[identity] for identity in sorted(self._by_endpoint.get(key, ())))
        return [child for child in found if resource is None or child.resource == resource]

    def endpoints(self) -> Iterator[tuple[Key, Manifest]]:
        """All endpoints."""
        return iter(list(self._endpoints.items()))

    def counts(self) -> dict[str, int]:
        """How many objects are remembered, by kind; for metrics."""
        totals = {KIND: len(self._endpoints)}
        for kind, _, _ in self._children:
            totals[kind] = totals.get(kind, 0) + 1
        return totals

    def drifted(self, child: Child) -> bool:
        """Whether somebody else changed the child since `remember`; the first sight of one is its baseline."""
        return self._tokens.setdefault(child.uid, child.token) != child.token

    # Writing

    def see_endpoint(self, manifest: Manifest) -> bool:
        """Takes an endpoint in; False if that is no news."""
        key = _key(manifest)
        if _is_old_news(manifest, self._endpoints.get(key)):
            return False
        self._endpoints[key] = slim(manifest)
        return True

    def see_child(self, resource: Resource, manifest: Manifest) -> Child | None:
        """Takes a child in; None if that is no news."""
        child = parse_child(resource, manifest)
        identity = resource.kind, child.namespace, child.name
        known = self._children.get(identity)
        if known is not None and known.uid == child.uid and _number(child.version) <= _number(known.version):
            return None
        if known is not None:
            self._forget(identity, keep_token=known.uid == child.uid)
        self._children[identity] = child
        self._by_endpoint.setdefault(child.endpoint, set()).add(identity)
        if resource == DEPLOYMENTS:
            self._deployments[child.namespace, child.name] = slim_deployment(manifest)
        return child

    def remember(self, resource: Resource, manifest: Manifest) -> None:
        """Takes in what the API server answered to our own write: what comes later and differs is drift."""
        child = parse_child(resource, manifest)
        self._tokens[child.uid] = child.token
        self.see_child(resource, manifest)

    def drop_endpoint(self, key: Key, uid: str = "") -> None:
        """The endpoint is gone. With `uid`: only if it is that very one."""
        known = self._endpoints.get(key)
        if known is not None and uid in ("", known["metadata"].get("uid", "")):
            del self._endpoints[key]

    def drop_child(self, resource: Resource, namespace: str, name: str, uid: str = "") -> Child | None:
        """A child is gone: the answer is what was known of it. With `uid`: only if it is that very one."""
        identity = resource.kind, namespace, name
        known = self._children.get(identity)
        if known is None or uid not in ("", known.uid):
            return None
        self._forget(identity, keep_token=False)
        if resource == DEPLOYMENTS:
            self._deployments.pop((namespace, name), None)
        return known

    def sweep(self, resource: Resource, present: Iterable[Manifest], version: str, namespace: str | None) -> list[Key]:
        """Drops what a list of `resource` (as of `version`) does not hold; the answer names the endpoints concerned.

        What was made after the list is newer than `version` and stays.
        """
        uids = {manifest["metadata"].get("uid") for manifest in present}
        if resource == ENDPOINTS:
            return self._sweep_endpoints(uids, _number(version), namespace)
        ghosts = [
            child
            for (kind, place, _), child in self._children.items()
            if kind == resource.kind
            and namespace in (None, place)
            and child.uid not in uids
            and _number(child.version) <= _number(version)
        ]
        for ghost in ghosts:
            self.drop_child(resource, ghost.namespace, ghost.name, ghost.uid)
        return [ghost.endpoint for ghost in ghosts]

    def _sweep_endpoints(self, uids: set[Any], version: int, namespace: str | None) -> list[Key]:
        ghosts = [
            key
            for key, manifest in self._endpoints.items()
            if namespace in (None, key[0])
            and manifest["metadata"].get("uid") not in uids
            and _number(manifest["metadata"].get("resourceVersion", "")) <= version
        ]
        for key in ghosts:
            del self._endpoints[key]
        return ghosts

    def _forget(self, identity: tuple[str, str, str], *, keep_token: bool) -> None:
        known = self._children.pop(identity)
        mates = self._by_endpoint.get(known.endpoint, set())
        mates.discard(identity)
        if not mates:
            self._by_endpoint.pop(known.endpoint, None)
        if not keep_token:
            self._tokens.pop(known.uid, None)


def slim(manifest: Manifest) -> Manifest:
    """An object without what only the API server and kubectl need."""
    meta = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    if _LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k != _LAST_APPLIED}
    return {**manifest, "metadata": meta}


def slim_deployment(manifest: Manifest) -> Manifest:
    """A Deployment without its pod template, but for the annotations on it."""
    spec = manifest.get("spec") or {}
    template = (spec.get("template") or {}).get("metadata") or {}
    return slim(
        {
            **manifest,
            "spec": {
                "replicas": spec.get("replicas"),
                "template": {"metadata": {"annotations": dict(template.get("annotations") or {})}},
            },
        }
    )


def _key(manifest: Manifest) -> Key:
    meta = manifest["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _is_old_news(manifest: Manifest, known: Manifest | None) -> bool:
    if known is None or known["metadata"].get("uid") != manifest["metadata"].get("uid"):
        return False
    seen, had = (_number(m["metadata"].get("resourceVersion", "")) for m in (manifest, known))
    return seen <= had


def _number(version: str) -> int:
    # Resource versions of one kind are ordered numbers (since Kubernetes 1.35 by contract).
    return int(version) if version.isascii() and version.isdigit() else 0
