"""Makes kubelets look again at what an endpoint's pods have mounted: they do so within a second when a pod's
annotations change, and else only every minute or so. Called by the reconciler after a policy write, for the reload
annotation, and while a Secret is missing."""

from __future__ import annotations

import asyncio

from model_serving.controller.desired.owner import Owner, pod_selector
from model_serving.kube.client import Client, Selection
from model_serving.kube.errors import NotFound
from model_serving.kube.labels import OPERATOR
from model_serving.kube.resources import PODS, Manifest

NUDGE = "model-serving.dev/nudge"


async def nudge(client: Client, owner: Owner, value: str) -> int:
    """Puts `value` into the annotation of every pod that does not have it yet; the answer is how many there were."""
    listing = await client.list(Selection(PODS, owner.namespace, labels=pod_selector(owner), metadata_only=True))
    stale = [pod for pod in listing.items if _value(pod) != value and not pod["metadata"].get("deletionTimestamp")]
    await asyncio.gather(*(_nudge_one(client, pod, value) for pod in stale))
    return len(stale)


async def _nudge_one(client: Client, pod: Manifest, value: str) -> None:
    meta = pod["metadata"]
    patch = {"metadata": {"annotations": {NUDGE: value}}}
    try:
        await client.patch(PODS, meta["namespace"], meta["name"], patch, manager=OPERATOR)
    except NotFound:
        return  # It went meanwhile, which is as good.


def _value(pod: Manifest) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(NUDGE, ""))
