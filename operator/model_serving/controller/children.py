"""Brings an endpoint's children to what they should be: writes what differs, repairs what drifted, removes what is not
wanted any more, and never touches what belongs to somebody else.

Called by the reconciler with the output of `desired/`.
"""

from __future__ import annotations

from collections.abc import Iterable

from model_serving.api.endpoint import KIND
from model_serving.controller.cache import DESIRED_HASH, Cache, Child, Key, parse_child
from model_serving.controller.drift import covers
from model_serving.kube.client import Client
from model_serving.kube.errors import Conflict, Forbidden, Invalid
from model_serving.kube.labels import ENDPOINT_LABEL, MANAGED_BY_LABEL, OPERATOR
from model_serving.kube.resources import Manifest, resource_of
from model_serving.lifecycle.revision import digest

FIELD_MANAGER = OPERATOR

PRUNED_KINDS = frozenset(
    {
        "ConfigMap",
        "ControllerRevision",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    }
)


class NotOurs(Exception):
    """An object of the needed name belongs to somebody else; the text names it and the remedy."""


class Awaited(Exception):
    """Children of a deleted namesake, or a namespace that is ending, are still in the way: they go by themselves."""


class Refused(Exception):
    """The API server refuses a child: quota, policy or content. `words` are its own, `invalid` says that the content
    is at fault, so that only another spec helps."""

    def __init__(self, child: str, words: str, *, invalid: bool) -> None:
        super().__init__(f"{child}: {words}")
        self.child = child
        self.words = words
        self.invalid = invalid


class Children:
    """Writes children of all endpoints. `writes` counts what was sent, for metrics and tests."""

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache
        self.writes = 0

    async def ensure(self, desired: Manifest, *, verify: bool = False) -> bool:
        """Makes one child what it should be; True if that took a write.

        `verify` reads the object and compares, for changes that nobody was awake to see. Raises `NotOurs`, `Awaited`,
        `Refused`, and `KubeError` for what passes by itself.
        """
        wanted = _stamped(desired)
        resource, meta = resource_of(wanted), wanted["metadata"]
        known = self._cache.child(resource, meta["namespace"], meta["name"])
        if known is None:
            return await self._make(wanted)
        await self._claim(known, wanted)
        if self._as_wanted(known, wanted) and not (verify and await self._differs(wanted)):
            return False
        # With its UID in the manifest, an object that took the name meanwhile is never written to.
        return await self._apply({**wanted, "metadata": {**meta, "uid": known.uid}}, force=True)

    async def prune(self, key: Key, owner_uid: str, wanted: Iterable[Manifest]) -> int:
        """Deletes the endpoint's own children that are not among `wanted`; the answer is their number."""
        names = {(m["kind"], m["metadata"]["name"]) for m in wanted}
        surplus = [
            child
            for child in self._cache.children(key)
            if child.owner_uid == owner_uid
            and child.resource.kind in PRUNED_KINDS
            and not child.deleting
            and (child.resource.kind, child.name) not in names
        ]
        for child in surplus:
            self.writes += 1
            await self._client.delete(child.resource, child.namespace, child.name, uid=child.uid)
            self._cache.drop_child(child.resource, child.namespace, child.name, child.uid)
        return len(surplus)

    def _as_wanted(self, known: Child, wanted: Manifest) -> bool:
        meta = wanted["metadata"]
        return (
            known.desired_hash == meta["annotations"][DESIRED_HASH]
            and known.owner_uid == meta["ownerReferences"][0]["uid"]
            and meta["labels"].items() <= known.labels.items()
            and not self._cache.drifted(known)
        )

    async def _differs(self, wanted: Manifest) -> bool:
        meta = wanted["metadata"]
        live = await self._client.find(resource_of(wanted), meta["namespace"], meta["name"])
        return live is None or not covers(live, wanted)

    async def _make(self, wanted: Manifest) -> bool:
        """The first write. The cache knows only what carries our labels, so we look before we leap."""
        resource, meta = resource_of(wanted), wanted["metadata"]
        found = await self._client.find(resource, meta["namespace"], meta["name"], metadata_only=True)
        if found is None:
            return await self._apply(wanted, force=False)
        await self._claim(parse_child(resource, found), wanted)
        return await self._apply({**wanted, "metadata": {**meta, "uid": found["metadata"]["uid"]}}, force=True)

    async def _claim(self, known: Child, wanted: Manifest) -> None:
        """Makes sure that the object is the endpoint's, or raises `Awaited` or `NotOurs`."""
        what = f"{known.resource.kind} {known.name}"
        if _is_leftover(known, wanted):
            # The garbage collector would do the same, sooner or later: while it does not know the resource yet, that
            # is, for half a minute after the CRD was installed, much later.
            await self._client.delete(known.resource, known.namespace, known.name, uid=known.uid)
            # Our last write to it may have been answered after its end was told: next time, look at the object itself.
            self._cache.drop_child(known.resource, known.namespace, known.name, known.uid)
            raise Awaited(f"{what} of a deleted endpoint of the same name is being removed")
        if known.owner_uid == wanted["metadata"]["ownerReferences"][0]["uid"]:
            if known.deleting:
                self._cache.drop_child(known.resource, known.namespace, known.name, known.uid)
                raise Awaited(f"{what} is being deleted")
            return
        if not known.owner_uid and known.labels.get(MANAGED_BY_LABEL) == OPERATOR:
            return  # Somebody took our owner reference off: put it back.
        raise NotOurs(
            f"{what} in this namespace is not the endpoint's: delete or rename it, or give the endpoint another name"
        )

    async def _apply(self, wanted: Manifest, *, force: bool) -> bool:
        resource, meta = resource_of(wanted), wanted["metadata"]
        what = f"{resource.kind} {meta['name']}"
        self.writes += 1
        try:
            answer = await self._client.apply(wanted, manager=FIELD_MANAGER, force=force)
        except Forbidden as error:
            if error.terminating:
                raise Awaited(f"{what}: the namespace is being deleted") from None
            raise Refused(what, error.message, invalid=False) from None
        except Invalid as error:
            raise Refused(what, error.message, invalid=True) from None
        except Conflict:
            # What we believed of it is out of date: look at the object itself next time.
            self._cache.drop_child(resource, meta["namespace"], meta["name"])
            raise
        self._cache.remember(resource, answer)
        return True


def _stamped(desired: Manifest) -> Manifest:
    meta = desired["metadata"]
    annotations = {**(meta.get("annotations") or {}), DESIRED_HASH: digest(desired)}
    return {**desired, "metadata": {**meta, "annotations": annotations}}


def _is_leftover(known: Child, wanted: Manifest) -> bool:
    """Whether the object belonged to an endpoint of the same name that is no more."""
    meta = wanted["metadata"]
    namesake = known.owner_kind == KIND and known.labels.get(ENDPOINT_LABEL) == meta["labels"][ENDPOINT_LABEL]
    return namesake and known.owner_uid != meta["ownerReferences"][0]["uid"]
