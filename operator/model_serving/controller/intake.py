"""Takes events in, whoever brings them: puts them into the cache and asks for a look at the endpoint concerned.

Called by Kopf's handlers and by our own watches. Nothing here does I/O or raises, and nothing is decided.
"""

from __future__ import annotations

from model_serving.controller.cache import Cache, Key
from model_serving.controller.queue import Queue
from model_serving.kube.resources import ENDPOINTS, Manifest, Resource


class Intake:
    """Implements `kube.watch.Listener`."""

    def __init__(self, cache: Cache, queue: Queue[Key]) -> None:
        self._cache = cache
        self._queue = queue

    def changed(self, resource: Resource, manifest: Manifest) -> None:
        """Something was added or modified, or was met in a list."""
        if resource == ENDPOINTS:
            if self._cache.see_endpoint(manifest):
                self._queue.add(_key(manifest))
            return
        known = self._cache.child(resource, *_key(manifest))
        seen = self._cache.see_child(resource, manifest)
        if seen is not None:
            # The label may have been changed by hand: then two endpoints are concerned.
            self._ask_for({seen.endpoint} | ({known.endpoint} if known else set()))

    def deleted(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Something is gone, or lost the labels by which it is watched."""
        if resource == ENDPOINTS:
            self._endpoint_deleted((namespace, name), uid)
            return
        known = self._cache.drop_child(resource, namespace, name, uid)
        if known is not None:
            self._ask_for({known.endpoint})

    def _endpoint_deleted(self, key: Key, uid: str) -> None:
        gone = self._cache.endpoint(key)
        self._cache.drop_endpoint(key, uid)
        self._queue.add(key)
        if gone is None:
            return
        # Whoever waited for the name may have it now.
        for other, manifest in self._cache.endpoints():
            if other[0] == key[0] and _client_name(manifest) == _client_name(gone):
                self._queue.add(other)

    def _ask_for(self, keys: set[Key]) -> None:
        for key in keys:
            if key[1]:
                self._queue.add(key)


def _key(manifest: Manifest) -> Key:
    meta = manifest["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _client_name(manifest: Manifest) -> str:
    return str((manifest.get("spec") or {}).get("endpointName") or manifest["metadata"]["name"])
