"""Where `plan.py` learns of the present: nowhere, from a file, the state of `model-serving run`, or a cluster.

Each source finds an endpoint as it is, and lets its platform judge a write that is not carried out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from model_serving.api.documents import UnreadableYaml, read_objects
from model_serving.api.endpoint import KIND, ServingEndpoint
from model_serving.api.hosts import Leave
from model_serving.api.problems import Problem
from model_serving.kube.client import Client, Selection
from model_serving.kube.config import ConfigError, Connection, connect, has_cluster
from model_serving.kube.errors import Forbidden, Invalid, KubeError
from model_serving.kube.labels import ENDPOINT_LABEL
from model_serving.kube.resources import CONTROLLER_REVISIONS, ENDPOINTS, Manifest
from model_serving.kube.workspace.stored import changed_manifest, new_manifest, parse_stored
from model_serving.lifecycle.plan import applied
from model_serving.local.folder import StateFolder
from model_serving.local.store import open_store
from model_serving.stores import Stored

MANAGER = "model-serving-plan"


class CannotPlan(Exception):
    """The present cannot be learned; the text says what was being done, what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which endpoint is meant: by the object's name, or (`by_clients`) by the one that clients use. Without a
    namespace: that of the source."""

    name: str
    namespace: str = ""
    by_clients: bool = False

    def means(self, endpoint: ServingEndpoint) -> bool:
        """Whether it is this one."""
        name = endpoint.endpoint_name if self.by_clients else endpoint.metadata.name
        return name == self.name and self.namespace in ("", endpoint.metadata.namespace)


class Source(Protocol):
    """`title` says what the plan is held against; `pods`: whether proxies are pods there."""

    title: str
    namespace: str
    leave: Leave
    pods: bool

    async def find(self, wanted: Wanted) -> Stored | None:
        """The endpoint as it is. Raises `CannotPlan`."""

    async def judge(self, stored: Stored | None, endpoint: ServingEndpoint) -> list[Problem]:
        """What the platform itself says against a write. Raises `CannotPlan`."""


class Listed:
    """Endpoints that are all known beforehand; none of them: every endpoint is new."""

    def __init__(
        self, title: str, present: Sequence[Stored] = (), *, leave: Leave, namespace: str = "", pods: bool = True
    ) -> None:
        self.title, self.namespace, self.leave, self.pods = title, namespace or "default", leave, pods
        self._present = [each for each in present if namespace in ("", each.endpoint.metadata.namespace)]

    async def find(self, wanted: Wanted) -> Stored | None:
        """The only one that is meant. Raises `CannotPlan` when there are more."""
        found = [stored for stored in self._present if wanted.means(stored.endpoint)]
        if len(found) > 1:
            namespaces = ", ".join(sorted(stored.endpoint.metadata.namespace for stored in found))
            raise CannotPlan(f"{wanted.name} is in several namespaces ({namespaces}): name one with --namespace")
        return found[0] if found else None

    async def judge(self, stored: Stored | None, endpoint: ServingEndpoint) -> list[Problem]:
        """Nobody is there to ask."""
        return []


@asynccontextmanager
async def open_source(
    environ: Mapping[str, str],
    *,
    against: Path | None = None,
    state: Path | None = None,
    offline: bool = False,
    **settings: Any,
) -> AsyncIterator[Source]:
    """The one source that was asked for; the cluster of the environment by default, if there is one. `settings`:
    `namespace` and `upstreams`. Raises `CannotPlan`."""
    namespace, leave = settings["namespace"], settings["upstreams"]
    if sum(map(bool, (against, state, offline))) > 1:
        raise CannotPlan("--against, --state and --offline exclude each other: give one of them")
    if against:
        yield of_file(against, leave, namespace)
    elif state:
        yield of_state(state)
    elif offline or not has_cluster(environ):
        yield Listed("nothing: every endpoint is new", leave=leave, namespace=namespace)
    else:
        try:
            connection = connect(environ)
        except ConfigError as error:
            raise CannotPlan(f"{error}; or plan without a cluster: --offline, --against or --state") from None
        async with Cluster(connection, namespace) as cluster:
            yield cluster


def of_file(path: Path, leave: Leave, namespace: str) -> Listed:
    """What `kubectl get -o yaml` wrote: endpoints, and their ControllerRevisions where they stand there too. Raises
    `CannotPlan`."""
    try:
        objects = read_objects(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CannotPlan(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None
    except UnreadableYaml as error:
        raise CannotPlan(f"cannot read {path}: {error}") from None
    revisions = [each for each in objects if each.get("kind") == CONTROLLER_REVISIONS.kind and _named(each)]
    present = [_stored(each, revisions, str(path)) for each in objects if each.get("kind") == KIND]
    return Listed(str(path), [each for each in present if each], leave=leave, namespace=namespace)


def of_state(state: Path) -> Listed:
    """The endpoints of `model-serving run` with this state folder. Raises `CannotPlan`."""
    folder = StateFolder(state)
    try:
        store = open_store(folder.database, read_only=True)
        try:
            present = [Stored(record.endpoint, record.history) for record in store.records()]
        finally:
            store.close()
    except sqlite3.Error:
        raise CannotPlan(f"{state} holds no endpoints: start `model-serving run`, or name its --state") from None
    return Listed(f"the state folder {state}", present, leave="local", pods=False)


class Cluster:
    """The endpoints of a cluster, with the rights of the kubeconfig's user. Open it with `async with`."""

    leave: Leave = "local"
    """The server judges hosts: its policies know what the namespace may do."""
    pods = True

    def __init__(self, connection: Connection, namespace: str = "") -> None:
        self.namespace = namespace or connection.namespace
        self.title = f"the cluster at {connection.server}"
        self._client = Client(connection)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def find(self, wanted: Wanted) -> Stored | None:
        """As the API server has it now, with its history where that may be read."""
        namespace = wanted.namespace or self.namespace
        try:
            manifest = await self._manifest(wanted, namespace)
            return _stored(manifest, await self._revisions(manifest, namespace), self.title) if manifest else None
        except KubeError as error:
            raise CannotPlan(f"reading the endpoint {wanted.name} in namespace {namespace}: {error}") from None

    async def judge(self, stored: Stored | None, endpoint: ServingEndpoint) -> list[Problem]:
        """A dry run on the server: schema, rules, admission policies and the user's own rights."""
        namespace = endpoint.metadata.namespace
        try:
            if stored is None:
                await self._client.create(new_manifest(endpoint, namespace), manager=MANAGER, dry_run=True)
            else:
                changed = changed_manifest(stored, applied(stored.endpoint, endpoint))
                await self._client.replace(changed, manager=MANAGER, dry_run=True)
        except (Forbidden, Invalid) as error:
            return [Problem("", f"the API server refuses it: {error.message.partition(': ')[2] or error.message}")]
        except KubeError as error:
            raise CannotPlan(f"a dry run of {endpoint.endpoint_name} in namespace {namespace}: {error}") from None
        return []

    async def _manifest(self, wanted: Wanted, namespace: str) -> Manifest | None:
        if not wanted.by_clients:
            return await self._client.find(ENDPOINTS, namespace, wanted.name)
        listed = (await self._client.list(Selection(ENDPOINTS, namespace))).items
        found = [each for each in listed if (stored := parse_stored(each)) and wanted.means(stored.endpoint)]
        return min(found, key=lambda each: str(each["metadata"].get("creationTimestamp", "")), default=None)

    async def _revisions(self, manifest: Manifest, namespace: str) -> list[Manifest]:
        labels = f"{ENDPOINT_LABEL}={manifest['metadata']['name']}"
        try:
            return (await self._client.list(Selection(CONTROLLER_REVISIONS, namespace, labels=labels))).items
        except Forbidden:
            return []  # the status tells the number of the version as well


def _stored(manifest: Manifest, revisions: Sequence[Manifest], where: str) -> Stored | None:
    """None for one that is being deleted. Raises `CannotPlan`."""
    if not _named(manifest):
        raise CannotPlan(f"{where}: a {KIND} without metadata.name stands there")
    stored = parse_stored(manifest, revisions)
    metadata = manifest["metadata"]
    if stored is None and not metadata.get("deletionTimestamp"):
        name = metadata["name"]
        raise CannotPlan(f"{where}: the {KIND} {name} cannot be read: it was made for another release")
    return stored


def _named(manifest: dict[str, Any]) -> bool:
    metadata = manifest.get("metadata")
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)
