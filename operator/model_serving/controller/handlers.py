"""The Kopf side: what is watched through Kopf, how it logs in, and how it behaves. Used by `operator.py`.

Only `on.event` handlers: they write nothing to the objects and need no finalizer. They hand over to `intake.py`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import kopf

from model_serving.api.endpoint import GROUP, PLURAL, VERSION
from model_serving.controller.intake import Intake
from model_serving.kube.config import Connection
from model_serving.kube.labels import OWNED
from model_serving.kube.resources import DEPLOYMENTS, ENDPOINTS, Manifest, Resource
from model_serving.kube.session import RequestCounts, open_session

_CHUNK = 500


class _Endless:
    """Back-offs without an end: a broken connection must not end the operator. Not an iterator: Kopf asks anew."""

    def __iter__(self) -> Iterator[float]:
        for attempt in itertools.count():
            yield min(30.0, 2.0 ** min(attempt, 5)) * random.uniform(0.5, 1.5)


def build_registry(
    intake: Intake, connection: Connection, counts: RequestCounts, stop: Callable[[], Awaitable[None]]
) -> kopf.OperatorRegistry:
    """What Kopf calls. `stop` ends all work of ours once Kopf is stopping."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure_kopf(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        session = open_session(connection, counts)
        return kopf.AiohttpSession(
            server=connection.server, default_namespace=connection.namespace, aiohttp_session=session
        )

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def on_endpoint(event: kopf.RawEvent, **_: Any) -> None:
        _hand_over(intake, ENDPOINTS, event)

    @kopf.on.event("apps", "v1", "deployments", registry=registry)
    async def on_deployment(event: kopf.RawEvent, **_: Any) -> None:
        _hand_over(intake, DEPLOYMENTS, event)

    @kopf.on.cleanup(registry=registry)
    async def stop_work(**_: Any) -> None:
        await stop()

    return registry


def configure(settings: kopf.OperatorSettings) -> None:
    """How Kopf behaves: it watches, and nothing else."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = 25.0
    settings.queueing.idle_timeout = 2.0
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.networking.error_backoffs = _Endless()
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 620.0
    settings.watching.connect_timeout = 10.0
    settings.watching.chunk_size = _CHUNK
    # Other people's Deployments never cross the wire.
    settings.watching.label_selectors["apps", "v1", "deployments"] = OWNED


def _hand_over(intake: Intake, resource: Resource, event: kopf.RawEvent) -> None:
    manifest: Manifest = dict(event["object"])
    # Objects of a list lack them, and Kopf does not put them in for all kinds.
    manifest["apiVersion"], manifest["kind"] = resource.api_version, resource.kind
    if event["type"] == "DELETED":
        meta = manifest["metadata"]
        intake.deleted(resource, meta.get("namespace", ""), meta["name"], meta.get("uid", ""))
    else:
        intake.changed(resource, manifest)
