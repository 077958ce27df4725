"""Connects management to the namespace that it serves. Called by `cli.py`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from model_serving.api.hosts import LEAVE_LABEL, Leave
from model_serving.kube.admin_pages import AdminPages
from model_serving.kube.client import Client
from model_serving.kube.config import ConfigError, Connection, connect
from model_serving.kube.errors import KubeError
from model_serving.kube.resources import NAMESPACES, Manifest
from model_serving.kube.workspace.callers import KubeCallers
from model_serving.kube.workspace.endpoint_store import KubeEndpoints
from model_serving.kube.workspace.pods import Pods
from model_serving.kube.workspace.secret_store import KubeSecrets
from model_serving.kube.workspace_id import workspace_id
from model_serving.stores import Platform

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""How often the namespace is looked at: an admin may give or take the leave for private hosts."""
_SECONDS = 10.0
"""How long the API server may take to answer a call: people are waiting."""
_PAGE_SECONDS = 3.0
_AT_ONCE = 64
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


def connection_of(environ: Mapping[str, str]) -> Connection:
    """How to reach the cluster with the workspace's own rights. `ConfigError`."""
    connection = connect(environ)
    if connection.client_certificate:
        raise ConfigError(
            "the kubeconfig has a client certificate, which the API server would take for every caller: use one with a "
            "token of the workspace's ServiceAccount (kubectl create token model-serving-workspace)"
        )
    return connection


@asynccontextmanager
async def connect_platform(
    connection: Connection, namespace: str = "", *, look_seconds: float = LOOK_SECONDS
) -> AsyncIterator[Platform]:
    """The workspace of a namespace, by default of the connection's own. Waits until the cluster answers."""
    chosen = namespace or connection.namespace
    async with (
        Client(connection, timeout=_SECONDS, concurrency=_AT_ONCE) as client,
        AdminPages(seconds=_PAGE_SECONDS) as pages,
    ):
        found = await _first_look(client, chosen)
        platform = Platform(
            callers=KubeCallers(client, chosen),
            endpoints=KubeEndpoints(client, chosen, Pods(client, chosen, pages)),
            secrets=KubeSecrets(client, chosen),
            workspace_id=workspace_id(found["metadata"]["uid"]),
            namespace=chosen,
            leave=_leave(found),
        )
        looking = asyncio.create_task(_keep_looking(client, platform, look_seconds), name="look at the namespace")
        try:
            yield platform
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


async def _first_look(client: Client, namespace: str) -> Manifest:
    pause = _FIRST_PAUSE
    while True:
        try:
            return await client.get(NAMESPACES, None, namespace, metadata_only=True)
        except KubeError as error:
            log.warning("reading the namespace %s: %s; again in %.1f s", namespace, error, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _keep_looking(client: Client, platform: Platform, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            platform.leave = _leave(await client.get(NAMESPACES, None, platform.namespace, metadata_only=True))
        except KubeError as error:
            log.warning("reading the namespace %s: %s", platform.namespace, error)


def _leave(namespace: Manifest) -> Leave:
    return "private" if (namespace["metadata"].get("labels") or {}).get(LEAVE_LABEL) == "true" else "public"
