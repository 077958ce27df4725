"""Children are made, kept, repaired and removed; other people's objects are left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from model_serving.controller.cache import DESIRED_HASH, Cache
from model_serving.controller.children import Awaited, Children, NotOurs, Refused
from model_serving.controller.desired.config_map import config_map, policy_map
from model_serving.controller.desired.revision import controller_revision
from model_serving.controller.desired.service import service
from model_serving.controller.history import Histories
from model_serving.controller.nudge import NUDGE, nudge
from model_serving.controller.own_image import with_image
from model_serving.controller.queue import Queue
from model_serving.controller.settings import Settings, SettingsError
from model_serving.controller.sweep import Sweeper
from model_serving.kube.client import Client, Selection
from model_serving.kube.errors import Conflict, Unavailable
from model_serving.kube.labels import OWNED
from model_serving.kube.request import Retries
from model_serving.kube.resources import CONFIG_MAPS, SERVICES, Manifest
from model_serving.lifecycle.proxy_config import build_policy, build_proxy_config
from model_serving.lifecycle.revision import Outcome
from tests.controller.factory import endpoint, owner, revision
from tests.fakes.kube_api import Failure, FakeKubeApi

KEY = ("gen-ai", "chat")
SERVICES_PATH = "/api/v1/namespaces/gen-ai/services"
MAPS_PATH = "/api/v1/namespaces/gen-ai/configmaps"


class World:
    """A cluster, and the operator's hands in it."""

    def __init__(self, api: FakeKubeApi, client: Client) -> None:
        self.api, self.client, self.cache = api, client, Cache()
        self.children = Children(client, self.cache)

    async def ensure(self, manifest: Manifest | None = None, **options: Any) -> bool:
        return await self.children.ensure(manifest or service(owner()), **options)

    def edit(self, **spec: Any) -> None:
        """Somebody edits the Service, and the watch tells."""
        live = self.api.get(SERVICES_PATH, "chat")
        self.api.put(SERVICES_PATH, {**live, "metadata": dict(live["metadata"]), "spec": {**live["spec"], **spec}})
        self.tell()

    def tell(self) -> None:
        self.cache.see_child(SERVICES, self.api.get(SERVICES_PATH, "chat"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with FakeKubeApi() as api, Client(api.connection, retries=Retries(attempts=1)) as client:
        yield World(api, client)


async def test_a_child_is_made_once(world: World) -> None:
    assert await world.ensure() is True
    assert await world.ensure() is False
    assert world.api.writes() == [("PATCH", f"{SERVICES_PATH}/chat")]
    assert DESIRED_HASH in world.api.get(SERVICES_PATH, "chat")["metadata"]["annotations"]


async def test_a_change_of_what_is_wanted_is_written(world: World) -> None:
    policy = build_policy(endpoint(), 1, "public")
    await world.ensure(policy_map(owner(), policy))
    assert await world.ensure(policy_map(owner(), build_policy(endpoint(), 1, "private"))) is True
    assert '"private"' in world.api.get(MAPS_PATH, "chat-policy")["data"]["policy.json"]


async def test_a_change_by_hand_is_undone_and_foreign_fields_stay(world: World) -> None:
    await world.ensure()
    world.edit(type="NodePort", sessionAffinity="ClientIP")
    assert await world.ensure() is True
    spec = world.api.get(SERVICES_PATH, "chat")["spec"]
    assert (spec["type"], spec["sessionAffinity"]) == ("ClusterIP", "ClientIP")
    assert await world.ensure() is False, "a foreign field is not fought over"


async def test_a_deleted_child_is_made_again(world: World) -> None:
    await world.ensure()
    gone = world.api.get(SERVICES_PATH, "chat")["metadata"]["uid"]
    world.api.remove(SERVICES_PATH, "chat")
    world.cache.drop_child(SERVICES, "gen-ai", "chat", gone)
    assert await world.ensure() is True


async def test_a_restart_writes_nothing(world: World) -> None:
    await world.ensure()
    world.cache = Cache()
    world.children = Children(world.client, world.cache)
    world.tell()
    assert await world.ensure() is False


async def test_what_was_edited_while_nobody_looked_is_found_by_the_full_pass(world: World) -> None:
    await world.ensure()
    world.edit(type="NodePort")
    world.cache = Cache()
    world.children = Children(world.client, world.cache)
    world.tell()
    assert await world.ensure() is False
    assert await world.ensure(verify=True) is True
    assert await world.ensure(verify=True) is False


async def test_a_foreign_object_of_that_name_is_reported_and_not_touched(world: World) -> None:
    world.api.put(SERVICES_PATH, {"metadata": {"name": "chat"}, "spec": {"mine": True}})
    with pytest.raises(NotOurs, match=r"Service chat .* delete or rename it"):
        await world.ensure()
    assert world.api.get(SERVICES_PATH, "chat")["spec"] == {"mine": True}
    assert world.api.writes() == []


async def test_one_that_took_the_name_behind_our_back_is_not_touched(world: World) -> None:
    await world.ensure()
    world.api.remove(SERVICES_PATH, "chat")
    world.api.put(SERVICES_PATH, {"metadata": {"name": "chat"}, "spec": {"mine": True}})
    with pytest.raises(Conflict):
        await world.ensure(service(owner()) | {"spec": {"type": "other"}})
    assert world.api.get(SERVICES_PATH, "chat")["spec"] == {"mine": True}
    with pytest.raises(NotOurs):
        await world.ensure()


def of_namesake(**meta: Any) -> Manifest:
    references = [{"kind": "ServingEndpoint", "uid": "another", "controller": True}]
    labels = {"model-serving.dev/endpoint": "chat"}
    return {"metadata": {"name": "chat", "labels": labels, "ownerReferences": references, **meta}}


async def test_the_leftover_of_a_deleted_namesake_is_removed_and_waited_for(world: World) -> None:
    world.api.put(SERVICES_PATH, of_namesake())
    with pytest.raises(Awaited, match="is being removed"):
        await world.ensure()
    assert await world.ensure() is True


async def test_the_child_of_another_endpoint_is_no_leftover(world: World) -> None:
    world.api.put(SERVICES_PATH, of_namesake(labels={"model-serving.dev/endpoint": "other"}))
    with pytest.raises(NotOurs):
        await world.ensure()


async def test_an_own_child_that_is_being_deleted_is_waited_for(world: World) -> None:
    await world.ensure()
    live = world.api.get(SERVICES_PATH, "chat")
    world.api.put(SERVICES_PATH, {**live, "metadata": {**live["metadata"], "deletionTimestamp": "now"}})
    world.tell()
    with pytest.raises(Awaited):
        await world.ensure()


async def test_an_owner_reference_that_was_taken_off_is_put_back(world: World) -> None:
    await world.ensure()
    live = world.api.get(SERVICES_PATH, "chat")
    world.api.put(SERVICES_PATH, {**live, "metadata": {**live["metadata"], "ownerReferences": []}})
    world.tell()
    assert await world.ensure() is True
    assert world.api.get(SERVICES_PATH, "chat")["metadata"]["ownerReferences"]


REFUSALS = [
    pytest.param(403, {"reason": "Forbidden", "message": "exceeded quota: q"}, False, id="quota"),
    pytest.param(422, {"reason": "Invalid", "message": "spec.x: bad"}, True, id="content"),
]


@pytest.mark.parametrize(("status", "body", "invalid"), REFUSALS)
async def test_a_refusal_is_told_in_the_servers_words(world: World, status: int, body: Any, invalid: bool) -> None:
    world.api.failures.append(Failure(status, lambda r: r.method == "PATCH", body=body))
    with pytest.raises(Refused, match=body["message"]) as caught:
        await world.ensure()
    assert caught.value.invalid is invalid


async def test_nothing_is_made_in_an_ending_namespace(world: World) -> None:
    body = {"reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
    world.api.failures.append(Failure(403, lambda r: r.method == "PATCH", body=body))
    with pytest.raises(Awaited, match="is being deleted"):
        await world.ensure()


async def test_a_server_in_trouble_is_the_queues_business(world: World) -> None:
    world.api.failures.append(Failure(503, times=9))
    with pytest.raises(Unavailable):
        await world.ensure()


async def test_surplus_is_removed_and_only_ours(world: World) -> None:
    old, new = (config_map(owner(), build_proxy_config(revision(config_version=n))) for n in (1, 2))
    for manifest in (old, new, service(owner())):
        await world.ensure(manifest)
    stray = {**of_namesake(), "kind": "ConfigMap"}
    stray["metadata"] |= {"name": "stray", "labels": {"model-serving.dev/endpoint": "chat"}}
    world.cache.see_child(CONFIG_MAPS, world.api.put(MAPS_PATH, stray))
    assert await world.children.prune(KEY, owner().uid, [new, service(owner())]) == 1
    assert {name for prefix, _, name in world.api.objects if prefix == "/configmaps"} == {
        new["metadata"]["name"],
        "stray",
    }
    assert await world.children.prune(KEY, owner().uid, [new, service(owner())]) == 0


# History


async def test_the_history_is_read_back_and_only_when_it_changed(world: World) -> None:
    histories = Histories(world.client, world.cache)
    assert await histories.load(owner()) == ()
    first = revision().ended(Outcome.SERVED)
    await world.ensure(controller_revision(owner(), first))
    assert await histories.load(owner()) == (first,)
    asked = len(world.api.requests)
    assert await histories.load(owner()) == (first,)
    assert len(world.api.requests) == asked
    second = revision(config_version=2, number=2)
    await world.ensure(controller_revision(owner(), second))
    histories.remember(owner(), (first, second))
    asked = len(world.api.requests)
    assert await histories.load(owner()) == (first, second)
    assert len(world.api.requests) == asked, "what was just written need not be read"


# Nudges, sweeps, the own image


def pod(name: str, **meta: Any) -> Manifest:
    labels = {"app.kubernetes.io/name": "model-serving-proxy", "model-serving.dev/endpoint": "chat"}
    return {"metadata": {"name": name, "labels": labels, **meta}, "spec": {"containers": []}}


async def test_a_nudge_reaches_each_pod_once(world: World) -> None:
    pods = "/api/v1/namespaces/gen-ai/pods"
    world.api.put(pods, pod("one"))
    world.api.put(pods, pod("two", deletionTimestamp="now"))
    assert await nudge(world.client, owner(), "v1") == 1
    assert await nudge(world.client, owner(), "v1") == 0
    assert world.api.get(pods, "one")["metadata"]["annotations"] == {NUDGE: "v1"}


async def test_the_sweep_drops_what_a_watch_missed_and_asks_for_a_look(world: World) -> None:
    await world.ensure()
    queue: Queue[tuple[str, str]] = Queue()
    selections = [Selection(SERVICES, None, labels=OWNED)]
    sweeper = Sweeper(world.client, world.cache, queue, selections, seconds=600)
    world.api.remove(SERVICES_PATH, "chat")
    await sweeper.sweep()
    assert world.cache.child(SERVICES, "gen-ai", "chat") is None
    assert queue.depth == 1


async def test_every_endpoint_has_its_turn_in_a_full_pass(world: World) -> None:
    queue: Queue[tuple[str, str]] = Queue()
    world.cache.see_endpoint({"metadata": {"name": "chat", "namespace": "gen-ai", "resourceVersion": "1"}})
    sweeper = Sweeper(world.client, world.cache, queue, [], seconds=600)
    sweeper._ask_for(KEY)
    sweeper._ask_for(("gen-ai", "gone"))
    assert queue.depth == 1
    assert sweeper.take_due(KEY) is True
    assert sweeper.take_due(KEY) is False


async def test_the_operators_own_image_is_used_unless_another_is_named(world: World) -> None:
    containers = [{"name": "sidecar", "image": "x"}, {"name": "operator", "image": "registry.test/it:3"}]
    world.api.put("/api/v1/namespaces/ops/pods", {"metadata": {"name": "me"}, "spec": {"containers": containers}})
    settings = Settings(operator_namespace="ops", identity="me")
    assert (await with_image(settings, world.client)).image == "registry.test/it:3"
    assert (await with_image(Settings(image="other"), world.client)).image == "other"
    with pytest.raises(SettingsError, match="MODEL_SERVING_IMAGE"):
        await with_image(Settings(operator_namespace="ops", identity="nobody"), world.client)
