"""The endpoints of a namespace: read straight from the API server, so that every replica of management sees every
write, and written with the caller's token."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from model_serving.api.access import level_given
from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.endpoint import PLURAL, ServingEndpoint
from model_serving.api.lock import config_lock, unobserved
from model_serving.api.names import object_name
from model_serving.api.policy import PermissionLevel
from model_serving.kube.client import Client, Selection
from model_serving.kube.errors import Conflict
from model_serving.kube.labels import ENDPOINT_LABEL, MANAGEMENT, OWNED
from model_serving.kube.resources import CONTROLLER_REVISIONS, ENDPOINTS, Manifest
from model_serving.kube.workspace.pods import Pods
from model_serving.kube.workspace.refusals import Deed, told, told_of_reading
from model_serving.kube.workspace.stored import changed_manifest, new_manifest, parse_stored
from model_serving.lifecycle.reading import age_of, endpoint_name_of
from model_serving.stores import Caller, Changed, Denied, Locked, Refused, Stored, Taken, Verb

T = TypeVar("T")

_NEW_SECONDS = 30.0
_NAME = re.compile(r"[-_.A-Za-z0-9]{1,63}")
PATIENCE = 5.0
"""Seconds that a write waits for an object of its name to be gone."""


class KubeEndpoints:
    """`stores.Endpoints`."""

    def __init__(self, client: Client, namespace: str, pods: Pods, *, patience: float = PATIENCE) -> None:
        self._client = client
        self._namespace = namespace
        self._pods = pods
        self._patience = patience

    async def all(self) -> Sequence[Stored]:
        """All that can be read, oldest first."""
        with told_of_reading("the endpoints"):
            endpoints, revisions = await asyncio.gather(
                self._client.list(Selection(ENDPOINTS, self._namespace)),
                self._client.list(Selection(CONTROLLER_REVISIONS, self._namespace, labels=OWNED)),
            )
        of: dict[str, list[Manifest]] = {}
        for revision in revisions.items:
            of.setdefault((revision["metadata"].get("labels") or {}).get(ENDPOINT_LABEL, ""), []).append(revision)
        ordered = sorted(endpoints.items, key=age_of)
        found = (parse_stored(manifest, of.get(manifest["metadata"]["name"], ())) for manifest in ordered)
        return [stored for stored in found if stored is not None]

    async def find(self, endpoint_name: str) -> Stored | None:
        """By the object's name that REST gives, else by `endpointName`."""
        if not _NAME.fullmatch(endpoint_name):
            return None
        slug = object_name(endpoint_name)
        with told_of_reading(f"the endpoint {endpoint_name}"):
            manifest, revisions = await asyncio.gather(
                self._client.find(ENDPOINTS, self._namespace, slug), self._revisions(slug)
            )
            if manifest is None or not _is_the_one(manifest, endpoint_name):
                # Somebody may have made it by another name, with kubectl.
                selection = Selection(ENDPOINTS, self._namespace, fields=f"spec.endpointName={endpoint_name}")
                others = (await self._client.list(selection)).items
                named = [m for m in [manifest, *others] if m is not None and _is_called(m, endpoint_name)]
                manifest = min(named, key=age_of, default=None)
                if manifest is None:
                    return None
                revisions = await self._revisions(manifest["metadata"]["name"])
        stored = parse_stored(manifest, revisions)
        if stored is None:
            raise Refused(f"the endpoint {endpoint_name} was made for another release: change it with kubectl")
        return stored

    async def create(self, caller: Caller, endpoint: ServingEndpoint) -> Stored:
        """A POST with the caller's token."""
        name = endpoint.endpoint_name
        if (found := await self.find(name)) is not None:
            raise Taken(f"the serving endpoint {found.endpoint.endpoint_name} exists already: choose another name")
        deed = self._deed(caller, Verb.CREATE, name)
        manifest = new_manifest(endpoint, self._namespace)
        with told(deed):
            client = self._client.acting_as(caller.token)
            try:
                made = await client.create(manifest, manager=MANAGEMENT)
            except Conflict as error:
                # It may be on its way out.
                if not error.already_exists or not await self._gone(endpoint.metadata.name):
                    raise
                made = await client.create(manifest, manager=MANAGEMENT)
        return _written(made)

    async def replace(self, caller: Caller, stored: Stored, endpoint: ServingEndpoint) -> Stored:
        """A PUT with the caller's token, of the version that was read."""
        if (locked := config_lock(stored.endpoint, endpoint)) is not None:
            raise Locked(f"spec.config: {locked}")
        manifest = changed_manifest(stored, endpoint)

        async def put(client: Client) -> Manifest:
            return await client.replace(manifest, manager=MANAGEMENT)

        return _written(await self._managed(caller, Verb.UPDATE, stored, put), stored)

    async def delete(self, caller: Caller, stored: Stored) -> None:
        """In the background; what the endpoint owns goes after it."""
        meta = stored.endpoint.metadata

        async def delete(client: Client) -> None:
            await client.delete(ENDPOINTS, self._namespace, meta.name, uid=meta.uid)

        try:
            await self._managed(caller, Verb.DELETE, stored, delete)
        except Changed:
            return  # That object is gone, and another has its name.
        await self._gone(meta.name, meta.uid)

    async def metrics(self, stored: Stored) -> str:
        """Of all pods."""
        meta = stored.endpoint.metadata
        with told_of_reading("the proxies' metrics"):
            return await self._pods.metrics(meta.name, meta.creation_timestamp)

    async def logs(self, stored: Stored) -> str:
        """Of all pods."""
        meta = stored.endpoint.metadata
        with told_of_reading("the proxies' logs"):
            return await self._pods.logs(meta.name, meta.creation_timestamp)

    async def _revisions(self, name: str) -> list[Manifest]:
        selection = Selection(CONTROLLER_REVISIONS, self._namespace, labels=f"{ENDPOINT_LABEL}={name}")
        return (await self._client.list(selection)).items

    async def _managed(self, caller: Caller, verb: Verb, stored: Stored, send: Callable[[Client], Awaitable[T]]) -> T:
        """Sends a write. Who manages an endpoint that is new or has just changed has the right to it as soon as the
        operator has seen that: a script that makes an endpoint and goes on at once need not know."""
        endpoint = stored.endpoint
        manages = level_given(endpoint, caller.name, caller.groups) is PermissionLevel.CAN_MANAGE
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._patience if manages and (_is_new(stored) or unobserved(endpoint)) else 0.0)
        while True:
            try:
                with told(self._deed(caller, verb, endpoint.endpoint_name)):
                    return await send(self._client.acting_as(caller.token))
            except Denied:
                if loop.time() >= end:
                    raise
            await asyncio.sleep(0.2)

    async def _gone(self, name: str, uid: str = "") -> bool:
        """Whether an object that is ending is gone after a while; False at once for one that stays."""
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    with told_of_reading("the endpoints"):
                        found = await self._client.find(ENDPOINTS, self._namespace, name, metadata_only=True)
                    if found is None or (uid and found["metadata"]["uid"] != uid):
                        return True
                    if not found["metadata"].get("deletionTimestamp"):
                        return False
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False

    def _deed(self, caller: Caller, verb: Verb, name: str) -> Deed:
        instead = "" if verb is Verb.CREATE else "somebody who manages the endpoint for CAN_MANAGE"
        return Deed(caller.name, verb, f"the serving endpoint {name}", PLURAL, self._namespace, instead)


def _written(manifest: Manifest, before: Stored | None = None) -> Stored:
    stored = parse_stored(manifest)
    if stored is None:
        raise Refused("the API server keeps the endpoint in a form that this release cannot read: update the CRD")
    return Stored(stored.endpoint, before.history if before else (), stored.updated_at, stored.owner, stored.raw)


def _is_new(stored: Stored) -> bool:
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(stored.endpoint.metadata.creation_timestamp)
    except ValueError:
        return False
    return age.total_seconds() < _NEW_SECONDS


def _is_the_one(manifest: Manifest, endpoint_name: str) -> bool:
    """Whether clients mean this object: unless an older one of that name was there first, which the operator says once
    it has seen this one."""
    status = manifest.get("status") or {}
    if not status.get("observedGeneration"):
        return False
    conditions = status.get("conditions") or []
    second = any(
        c.get("type") == ConditionType.STALLED and c.get("status") == "True" and c.get("reason") == Reason.NAME_CONFLICT
        for c in conditions
    )
    return _is_called(manifest, endpoint_name) and not second


def _is_called(manifest: Manifest, endpoint_name: str) -> bool:
    return endpoint_name_of(manifest) == endpoint_name and not manifest["metadata"].get("deletionTimestamp")
