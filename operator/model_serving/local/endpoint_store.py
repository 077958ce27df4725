"""Endpoints as the REST API writes them, over the store of a run. A part of the platform that `platform.py` builds.

After each write the keeper looks at once, and the write is answered when it has: by then the endpoint is on its way
and the router knows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from model_serving.api.access import includes, level_given
from model_serving.api.endpoint import ServingEndpoint, secret_refs
from model_serving.api.lock import config_lock
from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.api.policy import PermissionLevel
from model_serving.api.problems import Problem
from model_serving.api.validation import check_create, check_update
from model_serving.local.errors import saved
from model_serving.local.secret_files import delete_endpoint
from model_serving.local.secret_store import NAMESPACE, permits
from model_serving.local.store import Record, Store
from model_serving.stores import Caller, Changed, Denied, Locked, Permission, Refused, Stored, Taken, Unknown


class Proxies(Protocol):
    """What the processes of an endpoint say."""

    async def metrics(self, uid: str) -> str:
        """Prometheus text of the endpoint's proxies."""

    def logs(self, endpoint: ServingEndpoint) -> str:
        """The latest lines of the endpoint's proxies."""


class Overseer(Protocol):
    """Who keeps the processes as the store says, and tells people of it."""

    async def looked(self) -> None:
        """Returns when what was just written has been seen, and the router knows of it."""

    def note(self, text: str) -> None:
        """Says that something happened."""


class LocalEndpoints:
    """All endpoints of a run, whatever their namespace: there is one workspace here."""

    def __init__(self, store: Store, secrets: Path, proxies: Proxies, overseer: Overseer) -> None:
        self._store = store
        self._secrets = secrets
        self._proxies = proxies
        self._overseer = overseer

    async def all(self) -> Sequence[Stored]:
        """All, oldest first."""
        with saved("listing the endpoints"):
            return [_stored(record) for record in self._store.records()]

    async def find(self, endpoint_name: str) -> Stored | None:
        """The one that clients call so; the oldest, should there be two."""
        with saved(f"reading endpoint {endpoint_name}"):
            record = self._store.named(endpoint_name)
            return _stored(record) if record else None

    async def create(self, caller: Caller, endpoint: ServingEndpoint) -> Stored:
        """Makes it. Needs an admin. `Taken`, `Refused`, `Denied`."""
        name = endpoint.endpoint_name
        if not caller.admin:
            raise Denied(f"creating endpoint {name}: only admins create endpoints here: ask one of them")
        with saved(f"creating endpoint {name}"):
            if self._store.named(name) is not None or self._store.find(endpoint.key) is not None:
                raise Taken(f"endpoint {name} exists already: choose another name, or update that one")
            found = check_create(endpoint, "local")
            if endpoint.metadata.annotations.get(CREATOR_ANNOTATION, caller.name) != caller.name:
                found.append(Problem(f"metadata.annotations[{CREATOR_ANNOTATION}]", f"must be {caller.name}"))
            _refuse(f"creating endpoint {name}", found)
            self._store.apply(endpoint, "", datetime.now(UTC))
        self._overseer.note(f"{name}: created by {caller.name}")
        return await self._settled(endpoint)

    async def replace(self, caller: Caller, stored: Stored, endpoint: ServingEndpoint) -> Stored:
        """Writes annotations and spec of `endpoint` over what was read as `stored`.

        `Changed`, `Locked`, `Refused`, `Denied`, `Unknown`."""
        name = stored.endpoint.endpoint_name
        with saved(f"changing endpoint {name}"):
            record = self._same(stored)
            if record is None:
                raise Unknown(f"endpoint {name} does not exist any more")
            _require_manager(record.endpoint, caller)
            if record.endpoint.metadata.resource_version != stored.endpoint.metadata.resource_version:
                raise Changed(f"endpoint {name} was changed meanwhile: read it again")
            old = record.endpoint
            metadata = old.metadata.model_copy(update={"annotations": dict(endpoint.metadata.annotations)})
            new = old.model_copy(update={"metadata": metadata, "spec": endpoint.spec})
            self._check(caller, old, new)
            self._store.apply(new, record.source, datetime.now(UTC))
        if new.spec != old.spec:
            self._overseer.note(f"{name}: changed by {caller.name}")
        return await self._settled(new)

    async def delete(self, caller: Caller, stored: Stored) -> None:
        """Deletes that very object with its Secret; that it is gone already is fine. `Denied`."""
        name = stored.endpoint.endpoint_name
        with saved(f"deleting endpoint {name}"):
            record = self._same(stored)
            if record is None:
                return
            _require_manager(record.endpoint, caller)
            delete_endpoint(self._store, self._secrets, record.endpoint)
        self._overseer.note(f"{name}: deleted by {caller.name}")
        await self._overseer.looked()

    async def metrics(self, stored: Stored) -> str:
        """Prometheus text of the endpoint's proxies, each sample with the label `proxy`."""
        return await self._proxies.metrics(stored.endpoint.metadata.uid)

    async def logs(self, stored: Stored) -> str:
        """The latest lines of the endpoint's proxies."""
        with saved(f"reading the logs of endpoint {stored.endpoint.endpoint_name}"):
            return self._proxies.logs(stored.endpoint)

    def _check(self, caller: Caller, old: ServingEndpoint, new: ServingEndpoint) -> None:
        name, locked = old.endpoint_name, config_lock(old, new)
        found = [problem for problem in check_update(old, new, "local") if problem.message != locked]
        _refuse(f"changing endpoint {name}", found)
        if locked:
            raise Locked(
                f"an update of endpoint {name} is in progress: wait until its state.config_update is no longer "
                "IN_PROGRESS, or cancel it"
            )
        if new.spec.config != old.spec.config:
            self._require_secrets(caller, new)

    def _require_secrets(self, caller: Caller, endpoint: ServingEndpoint) -> None:
        """Who writes a config may read each scope that it names."""
        namespace = endpoint.metadata.namespace
        for _, ref in secret_refs(endpoint.spec.config):
            row = self._store.secrets.find((namespace, ref.name))
            if row is None and namespace != NAMESPACE:
                text = f"its file puts the endpoint into namespace {namespace}, where there is no Secret {ref.name}"
                raise Refused(f"changing endpoint {endpoint.endpoint_name}: {text}: change the file instead")
            if row is not None and row.scope and not permits(row, caller, Permission.READ):
                raise Denied(f"{caller.name} needs {Permission.READ} on scope {row.scope}: ask who manages it")
            if row is not None and row.owner not in ("", endpoint.metadata.uid):
                raise Denied(f"Secret {ref.name} belongs to another endpoint: put the key into a scope")

    def _same(self, stored: Stored) -> Record | None:
        record = self._store.find(stored.endpoint.key)
        return record if record and record.endpoint.metadata.uid == stored.endpoint.metadata.uid else None

    async def _settled(self, written: ServingEndpoint) -> Stored:
        """The endpoint after the keeper's look; as it was written, should it be gone by then."""
        with saved(f"reading endpoint {written.endpoint_name}"):
            before = self._store.find(written.key)
            await self._overseer.looked()
            record = self._store.find(written.key) or before
            return _stored(record) if record else Stored(written)


def _stored(record: Record) -> Stored:
    return Stored(record.endpoint, record.history, record.updated, record.source)


def _refuse(doing: str, found: Sequence[Problem]) -> None:
    if found:
        raise Refused(f"{doing}: {'; '.join(map(str, found))}", found)


def _require_manager(endpoint: ServingEndpoint, caller: Caller) -> None:
    level = level_given(endpoint, caller.name, caller.groups)
    if not caller.admin and not includes(level, PermissionLevel.CAN_MANAGE):
        raise Denied(f"{caller.name} needs CAN_MANAGE on endpoint {endpoint.endpoint_name}: ask who manages it")
