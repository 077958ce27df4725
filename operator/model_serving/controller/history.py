"""Reads the history of an endpoint back from its ControllerRevisions. They are written like any other child.

The cache knows the metadata alone; the whole objects are listed when it says that something changed.
"""

from __future__ import annotations

from model_serving.controller.cache import Cache, Key
from model_serving.controller.desired.owner import Owner
from model_serving.kube.client import Client, Selection
from model_serving.kube.labels import ENDPOINT_LABEL
from model_serving.kube.resources import CONTROLLER_REVISIONS
from model_serving.kube.revisions import parse_history
from model_serving.lifecycle.revision import History

Versions = frozenset[tuple[str, str]]


class Histories:
    """The histories of all endpoints, read again only when the metadata watch has seen a change."""

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache
        self._known: dict[Key, tuple[str, Versions, History]] = {}

    async def load(self, owner: Owner) -> History:
        """The history of one endpoint, oldest first. Raises `KubeError`."""
        seen = self._seen(owner)
        uid, versions, known = self._known.get(_key(owner), ("", frozenset[tuple[str, str]](), ()))
        if (uid or owner.uid, versions) == (owner.uid, seen):
            return known
        history = await self._read(owner)
        self.remember(owner, history)
        return history

    def remember(self, owner: Owner, history: History) -> None:
        """The history as it was just written, so that it need not be read back."""
        self._known[_key(owner)] = owner.uid, self._seen(owner), history

    def forget(self, key: Key) -> None:
        """The endpoint is gone."""
        self._known.pop(key, None)

    def _seen(self, owner: Owner) -> Versions:
        children = self._cache.children((owner.namespace, owner.name), CONTROLLER_REVISIONS)
        return frozenset((child.name, child.version) for child in children if child.owner_uid == owner.uid)

    async def _read(self, owner: Owner) -> History:
        selection = Selection(CONTROLLER_REVISIONS, owner.namespace, labels=f"{ENDPOINT_LABEL}={owner.name}")
        listing = await self._client.list(selection)
        return parse_history(listing.items, owner.uid, owner.endpoint_name)


def _key(owner: Owner) -> Key:
    return owner.namespace, owner.name
