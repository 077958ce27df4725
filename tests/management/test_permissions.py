"""Permissions by id: what REST says becomes `spec.access`, and comes back as it was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.api.validation import parse_endpoint
from model_serving.management.app import build_app
from model_serving.management.permissions import OPERATIONS
from model_serving.stores import Caller, Changed, Verb
from tests.management.memory import ALICE, BOB, CAROL, MemoryEndpoints, World

LIST = "access_control_list"
ROBOT = "system:serviceaccount:gen-ai:robot"
FOREIGN = "system:serviceaccount:batch:robot"
MANAGER = {"user_name": ALICE.name, "permission_level": "CAN_MANAGE"}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(world.platform(), OPERATIONS))
    headers = {"Authorization": f"Bearer {ALICE.token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://workspace", headers=headers) as client:
        yield client


async def make(world: World, *access: dict[str, str], creator: str = ALICE.name) -> str:
    """An endpoint made by `creator`; its path below the API."""
    model = {
        "name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat",
        "openaiConfig": {"openaiApiKeySecretRef": {"name": "s", "key": "k"}},
    }  # fmt: skip
    spec = {"config": {"servedEntities": [{"name": "main", "externalModel": model}]}}
    metadata = {"name": "chat", "annotations": {CREATOR_ANNOTATION: creator} if creator else {}}
    manifest = {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": metadata,
        "spec": {**spec, "access": [*access]} if access else spec,
    }
    stored = await world.platform().endpoints.create(ALICE, parse_endpoint(manifest))
    return f"/api/2.0/permissions/serving-endpoints/{stored.endpoint.databricks_id}"


def given(answer: httpx.Response) -> list[dict[str, str]]:
    """An answer's list, in the shape of a request."""
    assert answer.status_code == 200, answer.text
    entries = []
    for entry in answer.json()[LIST]:
        (permission,) = entry.pop("all_permissions")
        assert permission.pop("inherited") is False
        name = entry.pop("display_name")
        assert list(entry.values()) == [name]
        entries.append(entry | permission)
    return entries


def in_yaml(world: World) -> list[dict[str, str]]:
    return [entry.manifest() for entry in world.endpoint("chat").spec.access or []]


async def test_the_object_has_databricks_shape(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world, {"kind": "Group", "name": "ds", "permissionLevel": "CAN_QUERY"})
    answer = await client.get(path)
    assert answer.json() == {
        "object_id": path.removeprefix("/api/2.0/permissions"),
        "object_type": "serving-endpoint",
        LIST: [
            {
                "user_name": ALICE.name,
                "display_name": ALICE.name,
                "all_permissions": [{"permission_level": "CAN_MANAGE", "inherited": False}],
            },
            {
                "group_name": "ds",
                "display_name": "ds",
                "all_permissions": [{"permission_level": "CAN_QUERY", "inherited": False}],
            },
        ],
    }


async def test_the_levels_are_databricks(client: httpx.AsyncClient, world: World) -> None:
    levels = (await client.get(await make(world) + "/permissionLevels")).json()["permission_levels"]
    assert [level["permission_level"] for level in levels] == ["CAN_MANAGE", "CAN_QUERY", "CAN_VIEW"]
    assert all(level["description"] for level in levels)


Entry = dict[str, str]

ROUND_TRIPS: dict[str, tuple[list[Entry], list[Entry]]] = {
    "nobody else": ([], []),
    "a user": (
        [{"user_name": "bob@example.com", "permission_level": "CAN_QUERY"}],
        [{"kind": "User", "name": "bob@example.com", "namespace": "", "permissionLevel": "CAN_QUERY"}],
    ),
    "a group": (
        [{"group_name": "data science", "permission_level": "CAN_VIEW"}],
        [{"kind": "Group", "name": "data science", "namespace": "", "permissionLevel": "CAN_VIEW"}],
    ),
    "a ServiceAccount of the workspace": (
        [{"service_principal_name": ROBOT, "permission_level": "CAN_MANAGE"}],
        [{"kind": "ServiceAccount", "name": "robot", "namespace": "", "permissionLevel": "CAN_MANAGE"}],
    ),
    "a ServiceAccount of another namespace": (
        [{"service_principal_name": FOREIGN, "permission_level": "CAN_QUERY"}],
        [{"kind": "ServiceAccount", "name": "robot", "namespace": "batch", "permissionLevel": "CAN_QUERY"}],
    ),
    "two ServiceAccounts of one name": (
        [
            {"service_principal_name": ROBOT, "permission_level": "CAN_QUERY"},
            {"service_principal_name": FOREIGN, "permission_level": "CAN_VIEW"},
        ],
        [
            {"kind": "ServiceAccount", "name": "robot", "namespace": "", "permissionLevel": "CAN_QUERY"},
            {"kind": "User", "name": FOREIGN, "namespace": "", "permissionLevel": "CAN_VIEW"},
        ],
    ),
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
@pytest.mark.parametrize("with_caller", [False, True], ids=["", "with the caller, as Terraform sends it"])
async def test_what_was_sent_comes_back(
    client: httpx.AsyncClient, world: World, case: str, *, with_caller: bool
) -> None:
    sent, stored = ROUND_TRIPS[case]
    path = await make(world, {"kind": "User", "name": "former@example.com", "permissionLevel": "CAN_VIEW"})
    body = {LIST: [*sent, *([MANAGER] if with_caller else [])]}
    assert given(await client.put(path, json=body)) == [MANAGER, *sent]
    assert in_yaml(world) == stored
    assert given(await client.get(path)) == [MANAGER, *sent]
    writes = len(world.writes)
    assert given(await client.put(path, json=body)) == [MANAGER, *sent]
    assert len(world.writes) == writes, "what is there already is not written again"


async def test_a_service_account_may_call_itself_a_user(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world)
    answer = await client.put(path, json={LIST: [{"user_name": ROBOT, "permission_level": "CAN_MANAGE"}]})
    assert given(answer)[1:] == [{"service_principal_name": ROBOT, "permission_level": "CAN_MANAGE"}]


async def test_a_creator_is_shown_to_others_as_inherited_so_that_terraform_plans_no_removal(
    client: httpx.AsyncClient, world: World
) -> None:
    path = await make(world, creator=ROBOT)
    robot = {"service_principal_name": ROBOT, "permission_level": "CAN_MANAGE"}
    for method in ("PUT", "PATCH", "GET"):
        answer = await client.request(method, path, json={LIST: []})
        (permission,) = answer.json()[LIST][0]["all_permissions"]
        assert permission == {"permission_level": "CAN_MANAGE", "inherited": True}
        assert in_yaml(world) == []
    for sent in (robot, {"user_name": ROBOT, "permission_level": "CAN_MANAGE"}):
        assert given(await client.put(path, json={LIST: [sent]})) == [robot], "what was sent comes back"
        assert [entry["name"] for entry in in_yaml(world)] == ["robot"]


async def test_a_manager_who_did_not_create_the_endpoint_is_stored(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world, creator="")
    assert given(await client.put(path, json={LIST: [MANAGER]})) == [MANAGER]
    assert [entry["name"] for entry in in_yaml(world)] == [ALICE.name]


async def test_patch_merges(client: httpx.AsyncClient, world: World) -> None:
    path = await make(
        world,
        {"kind": "User", "name": "bob@example.com", "permissionLevel": "CAN_VIEW"},
        {"kind": "ServiceAccount", "name": "robot", "namespace": "gen-ai", "permissionLevel": "CAN_QUERY"},
    )
    sent = [
        {"user_name": "bob@example.com", "permission_level": "CAN_QUERY"},
        {"group_name": "ds", "permission_level": "CAN_VIEW"},
    ]
    robot = {"service_principal_name": ROBOT, "permission_level": "CAN_QUERY"}
    assert given(await client.patch(path, json={LIST: sent})) == [MANAGER, sent[0], robot, sent[1]]
    assert in_yaml(world)[1]["namespace"] == "gen-ai", "what keeps its meaning keeps its spelling"
    assert given(await client.patch(path, json={})) == [MANAGER, sent[0], robot, sent[1]]


async def test_of_two_entries_in_yaml_for_one_principal_the_higher_is_shown(
    client: httpx.AsyncClient, world: World
) -> None:
    path = await make(
        world,
        {"kind": "ServiceAccount", "name": "robot", "permissionLevel": "CAN_VIEW"},
        {"kind": "User", "name": ROBOT, "permissionLevel": "CAN_QUERY"},
    )
    robot = {"service_principal_name": ROBOT, "permission_level": "CAN_QUERY"}
    assert given(await client.get(path)) == [MANAGER, robot]


QUERY = {"permission_level": "CAN_QUERY"}

REFUSED: dict[str, tuple[Any, str]] = {
    "no list": ("all", f"{LIST}: "),
    "no object": (["bob"], f"{LIST}[0]: "),
    "nobody": ([MANAGER, QUERY], f"{LIST}[1]: "),
    "two principals": ([{"user_name": "a", "group_name": "b", **QUERY}], f"{LIST}[0]: "),
    "no level": ([{"user_name": "a"}], f"{LIST}[0].permission_level: "),
    "an unknown level": ([{"user_name": "a", "permission_level": "IS_OWNER"}], f"{LIST}[0].permission_level: "),
    "a level that is a list": ([{"user_name": "a", "permission_level": []}], f"{LIST}[0].permission_level: "),
    "a name that is a number": ([{"user_name": 7, **QUERY}], f"{LIST}[0].user_name: "),
    "a name with a line end": ([{"group_name": "a\n", **QUERY}], f"{LIST}[0].group_name: "),
    "a name of 256 characters": ([{"group_name": "a" * 256, **QUERY}], f"{LIST}[0].group_name: "),
    "the anonymous user": ([{"user_name": "system:anonymous", **QUERY}], f"{LIST}[0].user_name: anonymous"),
    "the unauthenticated": ([{"group_name": "system:unauthenticated", **QUERY}], f"{LIST}[0].group_name: anonymous"),
    "an application id": (
        [{"service_principal_name": "6b7c", **QUERY}],
        f"{LIST}[0].service_principal_name: a service principal is a ServiceAccount",
    ),
    "a ServiceAccount without namespace": (
        [{"user_name": "system:serviceaccount:robot", **QUERY}],
        f"{LIST}[0].user_name: ",
    ),
    "a ServiceAccount in no namespace that can be": (
        [{"service_principal_name": "system:serviceaccount:A_b:robot", **QUERY}],
        f"{LIST}[0].service_principal_name: ",
    ),
    "one principal with two levels": (
        [{"user_name": "a", **QUERY}, {"user_name": "a", "permission_level": "CAN_VIEW"}],
        f"{LIST}[1]: a stands",
    ),
    "less for the creator": ([{"user_name": ALICE.name, **QUERY}], f"{LIST}[0].permission_level: {ALICE.name} created"),
    "101 entries": ([{"user_name": f"u{n}", **QUERY} for n in range(101)], f"{LIST}: must have at most 100"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_names_the_field(client: httpx.AsyncClient, world: World, case: str) -> None:
    path = await make(world)
    sent, told = REFUSED[case]
    for method in ("PUT", "PATCH"):
        answer = await client.request(method, path, json={LIST: sent})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert answer.json()["message"].startswith(told)
    assert in_yaml(world) == []


async def test_a_list_under_another_name_takes_nothing_away(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world)
    await client.patch(path, json={LIST: [{"user_name": "bob", **QUERY}]})
    answer = await client.put(path, json={"acl": [{"user_name": "bob", **QUERY}]})
    assert (answer.status_code, answer.json()["message"]) == (400, f"acl: unknown field: the body needs {LIST}")
    assert len(in_yaml(world)) == 1


async def test_a_merge_beyond_what_fits_is_refused(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world)
    entries = [{"user_name": f"u{n}", **QUERY} for n in range(100)]
    assert len(given(await client.put(path, json={LIST: [MANAGER, *entries[1:]]}))) == 100
    answer = await client.patch(path, json={LIST: [entries[0], {"user_name": "one-too-many", **QUERY}]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert LIST in answer.json()["message"]


# Who may


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("PUT", ""), ("PATCH", ""), ("GET", "/permissionLevels")])
async def test_an_unknown_id_is_404(client: httpx.AsyncClient, world: World, method: str, tail: str) -> None:
    await make(world)
    answer = await client.request(method, "/api/2.0/permissions/serving-endpoints/" + "0" * 32 + tail, json={})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


MAY: dict[str, tuple[str, Caller, int, int]] = {
    "a stranger": ("", BOB, 403, 403),
    "who may view": ("CAN_VIEW", BOB, 200, 403),
    "who may query": ("CAN_QUERY", BOB, 200, 403),
    "who may manage": ("CAN_MANAGE", BOB, 200, 200),
    "who may manage by RBAC": ("", ALICE, 200, 200),
}


@pytest.mark.parametrize("case", MAY)
async def test_reading_needs_can_view_and_writing_can_manage(
    client: httpx.AsyncClient, world: World, case: str
) -> None:
    level, caller, read, written = MAY[case]
    entry = {"kind": "User", "name": BOB.name, "permissionLevel": level}
    path = await make(world, *([entry] if level else []), creator=CAROL.name)
    headers = {"Authorization": f"Bearer {caller.token}"}
    before = list(world.writes)
    assert (await client.get(path, headers=headers)).status_code == read
    assert (await client.get(f"{path}/permissionLevels", headers=headers)).status_code == read
    body = {LIST: [{"group_name": "ds", **QUERY}]}
    answer = await client.patch(path, json=body, headers=headers)
    assert answer.status_code == written, answer.text
    if written == 403:
        assert answer.json()["error_code"] == "PERMISSION_DENIED"
    assert [token for token, _, _ in world.writes[len(before) :]] == [caller.token] * (written == 200)


async def test_another_writer_is_not_overwritten(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world)
    races = iter([True, True, False])

    async def race(verb: str, _: str) -> None:
        if verb == Verb.UPDATE and next(races):
            raise Changed("somebody was faster")

    world.before_write = race
    sent = {"group_name": "ds", **QUERY}
    assert given(await client.patch(path, json={LIST: [sent]})) == [MANAGER, sent]


async def test_a_race_without_end_is_a_conflict(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world)

    async def race(verb: str, _: str) -> None:
        raise Changed("somebody was faster")

    world.before_write = race
    answer = await client.patch(path, json={LIST: [{"group_name": "ds", **QUERY}]})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "RESOURCE_CONFLICT")


async def test_permissions_make_no_version(client: httpx.AsyncClient, world: World) -> None:
    path = await make(world)
    world.serve("chat")
    await client.put(path, json={LIST: [{"group_name": "ds", **QUERY}]})
    world.look("chat")
    assert world.endpoint("chat").status.config_version == 1
    assert world.endpoint("chat").status.state.config_update == "NOT_UPDATING"


async def test_an_id_means_that_very_endpoint_and_no_namesake(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lists and who finds may look before and after an endpoint was made anew."""
    at = await make(world)
    before = await world.platform().endpoints.all()
    await world.platform().endpoints.delete(ALICE, before[0])
    again = await make(world)

    async def of_before(_: MemoryEndpoints) -> Any:
        return before

    monkeypatch.setattr(MemoryEndpoints, "all", of_before)
    body = {LIST: [{"user_name": BOB.name, "permission_level": "CAN_MANAGE"}]}
    assert at != again and (await client.put(at, json=body)).status_code == 404
    assert (await client.get(at)).status_code == 404
    assert not world.endpoint("chat").spec.access
