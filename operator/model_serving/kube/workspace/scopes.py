"""Secret scopes as Secrets: found by name, filled key by key. Called by `secret_store.py`.

A scope's Secret has its Databricks spelling as an annotation; one without it counts under its own name. When each key
was written stands in an annotation of its own, so that two writers never overwrite each other's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from model_serving.api.names import SCOPE_ANNOTATION, SCOPE_HASH_LABEL, scope_hash, secret_names
from model_serving.kube.client import Selection
from model_serving.kube.errors import Conflict, Forbidden
from model_serving.kube.labels import MANAGED_BY_LABEL, MANAGEMENT
from model_serving.kube.resources import SECRETS, Manifest
from model_serving.kube.workspace.refusals import told
from model_serving.kube.workspace.secrets_client import SecretsClient, encoded
from model_serving.stores import Caller, Scope, Taken, Unknown

KEY_TIME = "key-time.model-serving.dev/"
"""Prefix of the annotations that say when a key was written (RFC 3339)."""

_ANNOTATION_NAME = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")


class Scopes:
    """The scopes of a namespace."""

    def __init__(self, secrets: SecretsClient) -> None:
        self._secrets = secrets

    async def all(self, caller: Caller) -> Sequence[Scope]:
        """Those made as scopes; for callers who may list Secrets."""
        selection = Selection(SECRETS, self._secrets.namespace, labels=SCOPE_HASH_LABEL)
        with told(self._secrets.deed(caller, "list", "secret scopes")):
            found = (await self._secrets.acting(caller).list(selection)).items
        return sorted((_scope(secret) for secret in found if not _ending(secret)), key=lambda scope: scope.name)

    async def find(self, caller: Caller, name: str) -> Scope | None:
        """By at most two reads. A right that is missing for one of the two names counts only if the other has none."""
        denied: Forbidden | None = None
        with told(self._secrets.deed(caller, "get", f"the secret scope {name}, kept in the Secret {_names(name)},")):
            for object_name in secret_names(name):
                try:
                    secret = await self._secrets.find(caller, object_name)
                except Forbidden as error:
                    denied = error
                    continue
                if secret is not None and _is_called(secret, name):
                    return _scope(secret)
            if denied is not None:
                raise denied
        return None

    async def create(self, caller: Caller, name: str) -> Scope:
        """Under the first name that is free."""
        metadata = {
            "annotations": {SCOPE_ANNOTATION: name},
            "labels": {SCOPE_HASH_LABEL: scope_hash(name), MANAGED_BY_LABEL: MANAGEMENT},
        }
        taken = Taken(f"the secret scope {name} exists already: choose another name")
        with told(self._secrets.deed(caller, "create", f"the secret scope {name}")):
            if await self._readable(caller, name) is not None:
                raise taken
            for object_name in secret_names(name):
                try:
                    return _scope(await self._secrets.create(caller, object_name, {}, **metadata))
                except Conflict as error:
                    if not error.already_exists:
                        raise
                # Another scope of that slug, or the same that somebody else was making.
                found = await self._secrets.find(caller, object_name)
                if found is not None and _is_called(found, name):
                    raise taken
        raise Taken(
            f"the secret scope {name}: its Secret would be called {_names(name)}, and neither name is free: "
            "choose another name for the scope, or delete or rename the Secret"
        )

    async def delete(self, caller: Caller, scope: Scope) -> None:
        """With its keys; its Roles go after it."""
        with told(self._secrets.deed(caller, "delete", f"the secret scope {scope.name}")):
            await self._secrets.delete(caller, scope.object_name)

    async def put(self, caller: Caller, scope: Scope, key: str, value: bytes) -> None:
        """A merge of one key."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with told(self._secrets.deed(caller, "patch", f"the secret scope {scope.name}")):
            await self._secrets.patch(caller, scope.object_name, _key_patch(key, value, now))

    async def remove(self, caller: Caller, scope: Scope, key: str) -> None:
        """Looks first: a merge that removes nothing succeeds."""
        found = await self.find(caller, scope.name)
        if found is None or key not in found.keys:
            raise Unknown(f"the secret scope {scope.name} has no key {key}")
        with told(self._secrets.deed(caller, "patch", f"the secret scope {scope.name}")):
            await self._secrets.patch(caller, found.object_name, _key_patch(key, None, None))

    async def _readable(self, caller: Caller, name: str) -> Scope | None:
        """The scope of that name; None too for whoever may make Secrets and not read them."""
        for object_name in secret_names(name):
            try:
                secret = await self._secrets.find(caller, object_name)
            except Forbidden:
                continue
            if secret is not None and _is_called(secret, name):
                return _scope(secret)
        return None


def _key_patch(key: str, value: bytes | None, now: str | None) -> Manifest:
    return {"metadata": {"annotations": {_time_of(key): now}}, "data": encoded({key: value})}


def _scope(secret: Manifest) -> Scope:
    meta = secret["metadata"]
    times = meta.get("annotations") or {}
    made = meta.get("creationTimestamp", "")
    keys = {key: times.get(_time_of(key), made) for key in sorted(secret.get("data") or {})}
    return Scope(_spelling(secret), meta["name"], keys)


def _spelling(secret: Manifest) -> str:
    meta = secret["metadata"]
    return str((meta.get("annotations") or {}).get(SCOPE_ANNOTATION) or meta["name"])


def _is_called(secret: Manifest, name: str) -> bool:
    return not _ending(secret) and _spelling(secret) == name


def _ending(secret: Manifest) -> bool:
    return bool(secret["metadata"].get("deletionTimestamp"))


def _time_of(key: str) -> str:
    name = key if _ANNOTATION_NAME.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()[:32]
    return KEY_TIME + name


def _names(scope: str) -> str:
    return " or ".join(secret_names(scope))
