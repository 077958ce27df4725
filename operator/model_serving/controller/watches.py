"""What the operator watches, and the first fill of its cache. Used by `operator.py`."""

from __future__ import annotations

import asyncio
import logging
import random

from model_serving.api.endpoint import GROUP
from model_serving.controller.cache import Cache
from model_serving.controller.intake import Intake
from model_serving.controller.settings import Settings
from model_serving.kube.client import Client, Selection
from model_serving.kube.errors import KubeError, NotFound
from model_serving.kube.labels import OWNED
from model_serving.kube.resources import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    ENDPOINTS,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)
from model_serving.kube.watch import Watch

log = logging.getLogger(__name__)

_CHILDREN = (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
_PAUSE = 3.0


def watched_by_kopf(settings: Settings) -> list[Selection]:
    """What Kopf watches, as selections: for the first fill and for the sweep."""
    return _in_namespaces(settings, (ENDPOINTS,), "") + _in_namespaces(settings, (DEPLOYMENTS,), OWNED)


def watched_by_us(settings: Settings) -> list[Selection]:
    """The children that are watched as metadata only."""
    kinds = (*_CHILDREN, ROLES, ROLE_BINDINGS) if settings.manage_access else _CHILDREN
    return _in_namespaces(settings, kinds, OWNED, metadata_only=True)


def build_watches(client: Client, intake: Intake, settings: Settings) -> list[Watch]:
    """A watch for each of them."""
    return [Watch(client, selection, intake) for selection in watched_by_us(settings)]


async def fill(client: Client, cache: Cache, intake: Intake, settings: Settings, watches: list[Watch]) -> None:
    """Waits until everything that exists is known. Tries for ever: without that no decision may be taken."""
    for selection in watched_by_kopf(settings):
        await _fill_one(client, intake, selection)
    for watch in watches:
        await watch.synced.wait()
    cache.filled.set()
    log.info("the cache is filled: %s", ", ".join(f"{kind} {n}" for kind, n in sorted(cache.counts().items())))


async def _fill_one(client: Client, intake: Intake, selection: Selection) -> None:
    while True:
        try:
            for manifest in (await client.list(selection)).items:
                intake.changed(selection.resource, manifest)
            return
        except NotFound:
            name = f"{selection.resource.plural}.{GROUP}"
            log.error("the CustomResourceDefinition %s is not installed: apply it; trying again", name)
        except KubeError as error:
            log.error("listing %s: %s; trying again", selection, error)
        await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))


def _in_namespaces(
    settings: Settings, kinds: tuple[Resource, ...], labels: str, *, metadata_only: bool = False
) -> list[Selection]:
    namespaces: tuple[str | None, ...] = settings.namespaces or (None,)
    return [
        Selection(kind, namespace, labels=labels, metadata_only=metadata_only)
        for kind in kinds
        for namespace in namespaces
    ]
