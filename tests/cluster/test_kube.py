"""The door to a real API server: what the fakes claim, and what only the real thing can show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from model_serving.controller.cache import Cache
from model_serving.controller.children import Children, NotOurs
from model_serving.controller.desired.deployment import deployment
from model_serving.controller.desired.network_policy import IDENTITY_SERVICES, Egress, network_policy
from model_serving.controller.desired.owner import Owner
from model_serving.controller.desired.pod_disruption_budget import pod_disruption_budget
from model_serving.controller.desired.service import service
from model_serving.controller.desired.service_account import service_account
from model_serving.controller.lease import Lease
from model_serving.kube.client import Client, Selection
from model_serving.kube.config import from_kubeconfig
from model_serving.kube.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from model_serving.kube.labels import OWNED
from model_serving.kube.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINTS, PODS, SERVICES, Manifest, Resource
from model_serving.kube.watch import Watch
from tests.cluster import samples
from tests.cluster.harness import Cluster
from tests.cluster.operator_process import install_crd
from tests.controller.factory import SETTINGS, revision

SECONDS = 60


@pytest.fixture
async def client(control_plane: Cluster) -> AsyncIterator[Client]:
    async with Client(from_kubeconfig(control_plane.kubeconfig())) as opened:
        yield opened


async def until(holds: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Waits for something to become true."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


def config_map(namespace: str, name: str = "x", **data: str) -> Manifest:
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/managed-by": "model-serving-operator"},
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def test_apply_is_idempotent_and_merges_with_other_writers(client: Client, namespace: str) -> None:
    first = await client.apply(config_map(namespace, a="1"), manager="one")
    again = await client.apply(config_map(namespace, a="1"), manager="one")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    await client.patch(CONFIG_MAPS, namespace, "x", {"data": {"b": "2"}})
    merged = await client.apply(config_map(namespace, a="3"), manager="one")
    assert merged["data"] == {"a": "3", "b": "2"}
    assert (await client.apply(config_map(namespace), manager="one"))["data"] == {"b": "2"}, (
        "what is not asked for goes"
    )


async def test_apply_without_force_meets_other_owners_and_a_uid_guards_the_object(
    client: Client, namespace: str
) -> None:
    made = await client.apply(config_map(namespace, a="1"), manager="one")
    with pytest.raises(Conflict):
        await client.apply(config_map(namespace, a="2"), manager="two", force=False)
    stranger = config_map(namespace, a="3")
    stranger["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(Conflict):
        await client.apply(stranger, manager="one")
    stranger["metadata"]["name"] = "never-was"
    with pytest.raises(Conflict):
        await client.apply(stranger, manager="one")
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, namespace, "x", uid="00000000-0000-0000-0000-000000000000")
    await client.delete(CONFIG_MAPS, namespace, "x", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, namespace, "x")


async def test_refusals_are_typed(control_plane: Cluster, client: Client, namespace: str) -> None:
    bad = service(Owner(namespace, "Not_A_Name", "u", "x"))
    with pytest.raises(Invalid, match=r"metadata\.name"):
        await client.apply(bad, manager="one")
    async with Client(from_kubeconfig(control_plane.kubeconfig("mallory"))) as nobody:
        with pytest.raises(Forbidden, match="mallory"):
            await nobody.list(Selection(CONFIG_MAPS, namespace))
    connection = from_kubeconfig(control_plane.kubeconfig())
    stranger = type(connection)(connection.server, authorities=connection.authorities)
    async with Client(stranger) as unknown:
        with pytest.raises((Unauthorized, Forbidden)):
            await unknown.list(Selection(CONFIG_MAPS, namespace))


async def test_a_quota_is_quoted(control_plane: Cluster, client: Client, namespace: str) -> None:
    control_plane.kubectl("create", "quota", "tight", "--hard=count/configmaps=1", "-n", namespace)
    with pytest.raises(Forbidden, match="exceeded quota: tight"):
        async with asyncio.timeout(SECONDS):
            for number in range(1000):
                await client.apply(config_map(namespace, f"m{number}"), manager="one")
                await asyncio.sleep(0.05)


async def test_an_ending_namespace_is_recognised(control_plane: Cluster, client: Client, namespace: str) -> None:
    held = config_map(namespace, "held")
    held["metadata"]["finalizers"] = ["model-serving.test/hold"]
    await client.create(held)
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
    with pytest.raises(Forbidden) as caught:
        async with asyncio.timeout(SECONDS):
            while True:
                await client.apply(config_map(namespace, "new", a="1"), manager="one")
                await client.delete(CONFIG_MAPS, namespace, "new")
                await asyncio.sleep(0.1)
    assert caught.value.terminating
    await client.patch(CONFIG_MAPS, namespace, "held", {"metadata": {"finalizers": None}})


class Told:
    """The names that a watch has told of."""

    def __init__(self) -> None:
        self.present: set[str] = set()

    def changed(self, resource: Resource, manifest: Manifest) -> None:
        assert "data" not in manifest
        self.present.add(manifest["metadata"]["name"])

    def deleted(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        self.present.discard(name)


async def test_metadata_is_watched_and_a_gap_is_bridged(client: Client, namespace: str) -> None:
    for name in ("a", "b"):
        await client.apply(config_map(namespace, name, big="data"), manager="one")
    told = Told()
    watch = Watch(client, Selection(CONFIG_MAPS, namespace, labels=OWNED, metadata_only=True), told)
    task = asyncio.create_task(watch.run())
    await asyncio.wait_for(watch.synced.wait(), SECONDS)
    assert told.present == {"a", "b"}
    await client.apply(config_map(namespace, "c"), manager="one")
    await client.patch(CONFIG_MAPS, namespace, "b", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    await until(lambda: told.present == {"a", "c"})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.delete(CONFIG_MAPS, namespace, "a")
    watch._version = "1"  # as if the watch had slept for long
    task = asyncio.create_task(watch.run())
    await until(lambda: told.present == {"c"})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_children_are_accepted_as_they_are_built_and_drift_is_repaired(
    control_plane: Cluster, client: Client, namespace: str
) -> None:
    # A real endpoint: children of an owner that does not exist are collected, sooner or later.
    install_crd(control_plane)
    spec = samples.config(samples.model("m", "chat", "https://llm.example.com/v1"))
    control_plane.apply(json.dumps(samples.endpoint("chat", namespace, spec)))
    parent = await client.get(ENDPOINTS, namespace, "chat")
    owner = Owner(namespace, "chat", parent["metadata"]["uid"], "chat")
    cache = Cache()
    children = Children(client, cache)
    wanted = [
        service(owner),
        service_account(owner, {"a": "b"}),
        network_policy(owner, Egress({443}, identity=IDENTITY_SERVICES), "ops"),
        pod_disruption_budget(owner),
        deployment(owner, revision(), 1, SETTINGS),
    ]
    for manifest in wanted:
        assert await children.ensure(manifest) is True
    for manifest in wanted:
        assert await children.ensure(manifest) is False, manifest["kind"]
        assert await children.ensure(manifest, verify=True) is False, (
            f"{manifest['kind']} differs from what was applied"
        )
    assert children.writes == len(wanted)
    await client.patch(DEPLOYMENTS, namespace, "chat", {"spec": {"template": {"spec": {"enableServiceLinks": None}}}})
    cache.see_child(DEPLOYMENTS, await client.get(DEPLOYMENTS, namespace, "chat"))
    assert await children.ensure(wanted[-1]) is True
    live = await client.get(DEPLOYMENTS, namespace, "chat")
    assert live["spec"]["template"]["spec"]["enableServiceLinks"] is False


async def test_a_foreign_service_is_left_alone(control_plane: Cluster, client: Client, namespace: str) -> None:
    control_plane.kubectl("create", "service", "clusterip", "chat", "--tcp=80", "-n", namespace)
    before = await client.get(SERVICES, namespace, "chat")
    with pytest.raises(NotOurs, match="Service chat"):
        await Children(client, Cache()).ensure(service(Owner(namespace, "chat", "u", "chat")))
    assert (await client.get(SERVICES, namespace, "chat"))["metadata"] == before["metadata"]


async def test_the_lease_passes_from_one_to_the_next(client: Client, namespace: str) -> None:
    first = Lease(client, namespace=namespace, identity="one", seconds=5)
    second = Lease(client, namespace=namespace, identity="two", seconds=5)
    await first.acquire()
    hold, waiting = asyncio.create_task(first.hold()), asyncio.create_task(second.acquire())
    await asyncio.sleep(7)
    assert first.held and not waiting.done(), "renewed in time"
    hold.cancel()
    await asyncio.gather(hold, return_exceptions=True)
    await first.release()
    await asyncio.wait_for(waiting, SECONDS)
    assert second.held
    third = Lease(client, namespace=namespace, identity="three", seconds=5)
    await asyncio.wait_for(third.acquire(), SECONDS)
    assert third.held, "taken over from one that died without a word"
    await asyncio.wait_for(second.hold(), SECONDS)
    assert not second.held


async def test_pages_and_fields(client: Client, namespace: str) -> None:
    await asyncio.gather(*(client.create(config_map(namespace, f"m{n:03}")) for n in range(520)))
    listing = await client.list(Selection(CONFIG_MAPS, namespace, labels=OWNED, metadata_only=True))
    assert len(listing.items) == 520
    assert all(item["kind"] == "ConfigMap" for item in listing.items)
    one = await client.list(Selection(CONFIG_MAPS, namespace, fields="metadata.name=m007"))
    assert len(one.items) == 1
    assert (await client.list(Selection(PODS, namespace))).items == []
