"""The Secret that an endpoint owns: keys that were sent in plain text. Called by `secret_store.py`.

It is written before the endpoint exists and gets its owner afterwards; then both are deleted together.
"""

from __future__ import annotations

from collections.abc import Mapping

from model_serving.api.endpoint import API_VERSION, KIND
from model_serving.api.names import SCOPE_ANNOTATION
from model_serving.kube.errors import Conflict
from model_serving.kube.labels import MANAGED_BY_LABEL, MANAGEMENT
from model_serving.kube.resources import ENDPOINTS, Manifest
from model_serving.kube.workspace.refusals import told, told_of_reading
from model_serving.kube.workspace.secrets_client import SecretsClient, decoded, encoded
from model_serving.stores import Caller, Refused, Stored


class OwnedSecrets:
    """The Secrets of endpoints in a namespace."""

    def __init__(self, secrets: SecretsClient) -> None:
        self._secrets = secrets

    async def values(self, caller: Caller, name: str) -> Mapping[str, bytes]:
        """What is in it; nothing when it is not there, or is somebody else's."""
        with told(self._secrets.deed(caller, "get", f"the Secret {name}")):
            secret = await self._secrets.find(caller, name)
        return decoded(secret.get("data") or {}) if secret is not None and _is_ours(secret) else {}

    async def write(self, caller: Caller, name: str, values: Mapping[str, bytes | None]) -> None:
        """Adds, changes and removes keys. One that a deleted endpoint has left behind is not gone on with: it will be
        collected."""
        added = {key: value for key, value in values.items() if value is not None}
        with told(self._secrets.deed(caller, "get", f"the Secret {name}")):
            secret = await self._secrets.find(caller, name)
        if secret is not None and not _is_ours(secret):
            raise Refused(
                f"the Secret {name} would keep the endpoint's keys, but is somebody else's: delete or rename it, or "
                "name a secret as {{secrets/SCOPE/KEY}}"
            )
        if secret is not None and added and await self._is_left(secret):
            with told(self._secrets.deed(caller, "delete", f"the Secret {name} of a deleted endpoint")):
                await self._secrets.delete(caller, name, uid=secret["metadata"]["uid"])
            secret = None
        await self._write(caller, name, secret, values)

    async def adopt(self, caller: Caller, name: str, owner: Stored) -> None:
        """Neither the controller nor in the way of deletion, so that no right on finalizers is needed."""
        meta = owner.endpoint.metadata
        reference = {"apiVersion": API_VERSION, "kind": KIND, "name": meta.name, "uid": meta.uid}
        with told(self._secrets.deed(caller, "patch", f"the Secret {name}")):
            await self._secrets.patch(caller, name, {"metadata": {"ownerReferences": [reference]}})

    async def _write(
        self, caller: Caller, name: str, secret: Manifest | None, values: Mapping[str, bytes | None]
    ) -> None:
        added = {key: value for key, value in values.items() if value is not None}
        if secret is None:
            if added:
                with told(self._secrets.deed(caller, "create", f"the Secret {name}")):
                    await self._create(caller, name, added)
            return
        if added or set(secret.get("data") or {}) - set(values):
            with told(self._secrets.deed(caller, "patch", f"the Secret {name}")):
                await self._secrets.patch(caller, name, {"data": encoded(values)})
            return
        with told(self._secrets.deed(caller, "delete", f"the Secret {name}")):
            await self._delete(caller, secret, values)

    async def _delete(self, caller: Caller, secret: Manifest, values: Mapping[str, bytes | None]) -> None:
        """With its last key; not with one that somebody has added since."""
        meta = secret["metadata"]
        try:
            await self._secrets.delete(caller, meta["name"], uid=meta["uid"], version=meta["resourceVersion"])
        except Conflict:
            await self._secrets.patch(caller, meta["name"], {"data": encoded(values)})

    async def _create(self, caller: Caller, name: str, values: Mapping[str, bytes]) -> None:
        try:
            await self._secrets.create(caller, name, values, labels={MANAGED_BY_LABEL: MANAGEMENT})
        except Conflict as error:
            # Another call for the same endpoint was first; each has keys of its own.
            found = await self._secrets.find(caller, name) if error.already_exists else None
            if found is None or not _is_ours(found):
                raise
            await self._secrets.patch(caller, name, {"data": encoded(values)})

    async def _is_left(self, secret: Manifest) -> bool:
        """Whether the endpoint that owned it is no more."""
        for reference in secret["metadata"].get("ownerReferences") or []:
            if reference.get("kind") != KIND:
                continue
            with told_of_reading("the endpoint that owns a Secret"):
                owner = await self._secrets.client.find(
                    ENDPOINTS, self._secrets.namespace, reference.get("name", ""), metadata_only=True
                )
            meta = owner["metadata"] if owner else {}
            if meta.get("uid") != reference.get("uid") or meta.get("deletionTimestamp"):
                return True
        return False


def _is_ours(secret: Manifest) -> bool:
    """Whether it holds keys of an endpoint. A scope is made here too, and may be called as such a Secret is."""
    meta = secret["metadata"]
    is_scope = SCOPE_ANNOTATION in (meta.get("annotations") or {})
    return not is_scope and (meta.get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGEMENT
