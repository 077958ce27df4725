"""The client over real sockets: verbs, paging, retries and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from model_serving.kube import errors
from model_serving.kube.client import Client, Selection
from model_serving.kube.config import Connection
from model_serving.kube.request import Retries
from model_serving.kube.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINTS, LEASES, PODS, resource_of
from tests.fakes.kube_api import Failure, FakeKubeApi

MAPS = "/api/v1/namespaces/a/configmaps"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a"}, "data": data}


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        yield fake


@pytest.fixture
async def client(api: FakeKubeApi) -> AsyncIterator[Client]:
    async with Client(api.connection, retries=Retries(base=0.01)) as opened:
        yield opened


async def test_an_object_is_applied_read_patched_and_deleted(api: FakeKubeApi, client: Client) -> None:
    made = await client.apply(config_map("x", k="1"), manager="me")
    assert made["metadata"]["uid"]
    assert api.requests[-1][2] == {"fieldManager": "me", "force": "true"}
    assert (await client.get(CONFIG_MAPS, "a", "x"))["data"] == {"k": "1"}
    await client.patch(CONFIG_MAPS, "a", "x", {"data": {"k": "2"}})
    assert api.get(MAPS, "x")["data"] == {"k": "2"}
    await client.delete(CONFIG_MAPS, "a", "x", uid=made["metadata"]["uid"])
    assert await client.find(CONFIG_MAPS, "a", "x") is None


async def test_deleting_what_is_gone_is_no_error(client: Client) -> None:
    await client.delete(CONFIG_MAPS, "a", "never")


async def test_an_object_of_another_uid_is_neither_deleted_nor_applied_to(api: FakeKubeApi, client: Client) -> None:
    api.put(MAPS, config_map("x"))
    with pytest.raises(errors.Conflict):
        await client.delete(CONFIG_MAPS, "a", "x", uid="another")
    stranger = config_map("x")
    stranger["metadata"]["uid"] = "another"
    with pytest.raises(errors.Conflict):
        await client.apply(stranger, manager="me")


async def test_the_status_is_applied_alone(api: FakeKubeApi, client: Client) -> None:
    path = ENDPOINTS.path("a")
    endpoint = {
        "apiVersion": ENDPOINTS.api_version,
        "kind": ENDPOINTS.kind,
        "metadata": {"name": "e"},
        "spec": {"x": 1},
    }
    api.put(path, endpoint)
    await client.apply_status(
        {**endpoint, "metadata": {"name": "e", "namespace": "a"}, "status": {"y": 2}}, manager="m"
    )
    assert api.requests[-1][1].endswith("/servingendpoints/e/status")
    assert api.get(path, "e")["status"] == {"y": 2}


async def test_a_list_is_read_in_pages_and_knows_what_it_holds(api: FakeKubeApi, client: Client) -> None:
    for number in range(1203):
        api.put(MAPS, config_map(f"m{number:04}"))
    listing = await client.list(Selection(CONFIG_MAPS, "a"))
    assert [m["metadata"]["name"] for m in listing.items] == [f"m{n:04}" for n in range(1203)]
    assert len([r for r in api.requests if r[0] == "GET"]) == 3
    assert all(m["kind"] == "ConfigMap" for m in listing.items)
    assert listing.resource_version


async def test_a_list_whose_pages_expire_starts_again(api: FakeKubeApi, client: Client) -> None:
    for number in range(600):
        api.put(MAPS, config_map(f"m{number:04}"))
    api.failures.append(Failure(410, lambda r: "continue" in r.query, body={"reason": "Expired", "message": "old"}))
    assert len((await client.list(Selection(CONFIG_MAPS, "a"))).items) == 600


async def test_metadata_alone_is_listed_when_asked(api: FakeKubeApi, client: Client) -> None:
    api.put(MAPS, config_map("x", big="data"))
    listing = await client.list(Selection(CONFIG_MAPS, None, metadata_only=True))
    assert "data" not in listing.items[0]
    assert listing.items[0]["metadata"]["name"] == "x"


async def test_a_selection_filters_on_the_server(api: FakeKubeApi, client: Client) -> None:
    api.put(MAPS, config_map("x"))
    api.put(MAPS, {**config_map("y"), "metadata": {"name": "y", "labels": {"app": "z"}}})
    assert [m["metadata"]["name"] for m in (await client.list(Selection(CONFIG_MAPS, "a", labels="app=z"))).items] == [
        "y"
    ]


ANSWERS = [
    pytest.param(404, {"reason": "NotFound"}, errors.NotFound, id="gone"),
    pytest.param(409, {"reason": "Conflict"}, errors.Conflict, id="somebody was first"),
    pytest.param(410, {"reason": "Expired"}, errors.Expired, id="too old"),
    pytest.param(422, {"reason": "Invalid"}, errors.Invalid, id="bad content"),
    pytest.param(400, {}, errors.Invalid, id="bad request"),
    pytest.param(403, {"reason": "Forbidden"}, errors.Forbidden, id="refused"),
    pytest.param(401, {"reason": "Unauthorized"}, errors.Unauthorized, id="not known"),
    pytest.param(503, {}, errors.Unavailable, id="server away"),
    pytest.param(500, {}, errors.Unavailable, id="server broken"),
]


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS)
async def test_an_answer_becomes_the_error_that_says_what_to_do(
    api: FakeKubeApi, client: Client, status: int, body: dict[str, Any], expected: type[errors.KubeError]
) -> None:
    api.failures.append(Failure(status, times=99, body={"message": "exceeded quota: pods", **body}))
    with pytest.raises(expected) as caught:
        await client.apply(config_map("x"), manager="me")
    assert type(caught.value) is expected
    assert caught.value.status == status
    assert str(caught.value) == "PATCH /api/v1/namespaces/a/configmaps/x: exceeded quota: pods"


async def test_an_ending_namespace_is_told_from_a_missing_right(api: FakeKubeApi, client: Client) -> None:
    body = {"reason": "Forbidden", "message": "no", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
    api.failures.append(Failure(403, body=body))
    with pytest.raises(errors.Forbidden) as caught:
        await client.create(config_map("x"))
    assert caught.value.terminating


async def test_a_taken_name_is_told_from_another_conflict(api: FakeKubeApi, client: Client) -> None:
    await client.create(config_map("x"))
    with pytest.raises(errors.Conflict) as caught:
        await client.create(config_map("x"))
    assert caught.value.already_exists


@pytest.mark.parametrize("status", [500, 503])
async def test_a_passing_fault_is_tried_again(api: FakeKubeApi, client: Client, status: int) -> None:
    api.failures.append(Failure(status, times=2))
    await client.apply(config_map("x"), manager="me")
    assert client.counts["patch", str(status)] == 2
    assert client.counts["patch", "201"] == 1


async def test_a_lost_answer_to_a_create_is_not_repeated(api: FakeKubeApi, client: Client) -> None:
    api.failures.append(Failure(500, times=1))
    with pytest.raises(errors.Unavailable):
        await client.create(config_map("x"))
    assert len(api.requests) == 1


async def test_a_cut_connection_is_tried_again_where_that_is_harmless(api: FakeKubeApi, client: Client) -> None:
    api.failures.append(Failure(500, times=1, cut=True))
    await client.apply(config_map("x"), manager="me")


async def test_a_short_wish_to_wait_is_granted(api: FakeKubeApi, client: Client) -> None:
    api.failures.append(Failure(429, headers={"Retry-After": "0.1"}))
    await client.create(config_map("x"))


async def test_a_long_wish_to_wait_is_handed_on(api: FakeKubeApi, client: Client) -> None:
    api.failures.append(Failure(429, headers={"Retry-After": "17"}))
    with pytest.raises(errors.TooManyRequests) as caught:
        await client.get(CONFIG_MAPS, "a", "x")
    assert caught.value.retry_after == 17
    assert len(api.requests) == 1


async def test_no_server_is_unavailable() -> None:
    async with Client(Connection("http://127.0.0.1:9"), retries=Retries(attempts=2, base=0.01)) as client:
        with pytest.raises(errors.Unavailable, match="cannot connect"):
            await client.create(config_map("x"))
    assert client.counts["post", "error"] == 2


async def test_a_server_that_does_not_answer_is_unavailable(api: FakeKubeApi) -> None:
    api.delay = 30.0
    async with Client(api.connection, timeout=0.2, retries=Retries(attempts=1)) as client:
        with pytest.raises(errors.Unavailable):
            await client.get(CONFIG_MAPS, "a", "x")


async def test_no_more_requests_are_under_way_than_allowed(api: FakeKubeApi) -> None:
    api.delay = 0.02
    async with Client(api.connection, concurrency=3) as client:
        await asyncio.gather(*(client.find(CONFIG_MAPS, "a", str(n)) for n in range(20)))
    assert api.peak <= 3


async def test_bodies_are_never_part_of_an_error(api: FakeKubeApi, client: Client) -> None:
    api.failures.append(Failure(500, times=9))
    with pytest.raises(errors.Unavailable) as caught:
        await client.apply(config_map("x", key="sk-canary"), manager="me")
    assert "sk-canary" not in str(caught.value)


async def test_a_name_cannot_reach_another_path(api: FakeKubeApi, client: Client) -> None:
    assert await client.find(CONFIG_MAPS, "a", "../secrets/x") is None
    assert api.requests[-1][1] == "/api/v1/namespaces/a/configmaps/..%2Fsecrets%2Fx"


PATHS = [
    (CONFIG_MAPS.path("n", "x"), "/api/v1/namespaces/n/configmaps/x"),
    (DEPLOYMENTS.path(None), "/apis/apps/v1/deployments"),
    (LEASES.path("n"), "/apis/coordination.k8s.io/v1/namespaces/n/leases"),
    (PODS.path("n", "p", "log"), "/api/v1/namespaces/n/pods/p/log"),
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


def test_an_unknown_kind_says_where_to_add_it() -> None:
    with pytest.raises(LookupError, match=r"kube/resources\.py"):
        resource_of({"apiVersion": "v9", "kind": "Thing"})
