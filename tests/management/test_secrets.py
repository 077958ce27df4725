"""The secrets API: scopes, keys, permissions on them; and that a rotation reaches the endpoints that use the key."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from model_serving.api.names import RELOAD_ANNOTATION
from model_serving.api.validation import parse_endpoint
from model_serving.management.app import build_app
from model_serving.management.secret_scopes import LARGEST_VALUE, OPERATIONS
from model_serving.stores import Changed, Verb
from tests.management.memory import ALICE, BOB, World

VALUE = "sk-very-secret"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(world.platform(), OPERATIONS))
    headers = {"Authorization": f"Bearer {ALICE.token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://workspace/api/2.0/secrets/", headers=headers
    ) as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(client: httpx.AsyncClient, path: str, **query: str) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_tutorial_runs_from_start_to_end(client: httpx.AsyncClient, world: World) -> None:
    assert await get(client, "scopes/list") == {"scopes": []}
    assert await post(client, "scopes/create", scope="my_scope") == {}
    assert await get(client, "scopes/list") == {"scopes": [{"name": "my_scope", "backend_type": "DATABRICKS"}]}
    assert await get(client, "list", scope="my_scope") == {"secrets": []}
    assert await post(client, "put", scope="my_scope", key="my_openai_api_key", string_value=VALUE) == {}
    assert world.scopes["my_scope"].values == {"my_openai_api_key": VALUE.encode()}
    listed = await get(client, "list", scope="my_scope")
    assert listed == {"secrets": [{"key": "my_openai_api_key", "last_updated_timestamp": 1767225601000}]}
    assert await post(client, "delete", scope="my_scope", key="my_openai_api_key") == {}
    assert await get(client, "list", scope="my_scope") == {"secrets": []}
    assert await post(client, "scopes/delete", scope="my_scope") == {}
    assert await get(client, "scopes/list") == {"scopes": []}


async def test_bytes_arrive_as_they_are(client: httpx.AsyncClient, world: World) -> None:
    world.add_scope("s")
    raw = bytes(range(256))
    await post(client, "put", scope="s", key="k", bytes_value=base64.b64encode(raw).decode())
    assert world.scopes["s"].values["k"] == raw
    await post(client, "put", scope="s", key="k", string_value="é" * (LARGEST_VALUE // 2), bytes_value=None)
    assert len(world.scopes["s"].values["k"]) == LARGEST_VALUE


async def test_who_manages_from_the_start(client: httpx.AsyncClient) -> None:
    await post(client, "scopes/create", scope="s", initial_manage_principal="users", scope_backend_type="DATABRICKS")
    assert await get(client, "acls/list", scope="s") == {"items": [{"principal": "users", "permission": "MANAGE"}]}


async def test_permissions_go_round(client: httpx.AsyncClient) -> None:
    await post(client, "scopes/create", scope="s")
    assert await get(client, "acls/list", scope="s") == {"items": []}
    await post(client, "acls/put", scope="s", principal="data-science", permission="READ")
    await post(client, "acls/put", scope="s", principal="bob@example.com", permission="WRITE")
    told = {"principal": "data-science", "permission": "READ"}
    assert await get(client, "acls/get", scope="s", principal="data-science") == told
    await post(client, "acls/delete", scope="s", principal="data-science")
    expected = {"items": [{"principal": "bob@example.com", "permission": "WRITE"}]}
    assert await get(client, "acls/list", scope="s") == expected


INVALID, MISSING = (400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST")

REFUSED: dict[str, tuple[str, dict[str, Any], tuple[int, str], str]] = {
    "a scope that exists": ("scopes/create", {"scope": "known"}, (400, "RESOURCE_ALREADY_EXISTS"), "known"),
    "a scope without a name": ("scopes/create", {}, INVALID, "scope: is required"),
    "a scope named by a number": ("scopes/create", {"scope": 7}, INVALID, "scope: must be a string"),
    "a scope with a slash": ("scopes/create", {"scope": "a/b"}, INVALID, "scope: use"),
    "a scope with a line end": ("scopes/create", {"scope": "a\n"}, INVALID, "scope: use"),
    "a scope of 129 characters": ("scopes/create", {"scope": "a" * 129}, INVALID, "scope: use"),
    "a scope of another cloud": (
        "scopes/create", {"scope": "a", "scope_backend_type": "AZURE_KEYVAULT"}, INVALID, "scope_backend_type"
    ),
    "an unknown scope to delete": ("scopes/delete", {"scope": "a"}, MISSING, "scope a"),
    "an unknown scope to put into": ("put", {"scope": "a", "key": "k", "string_value": "v"}, MISSING, "scope a"),
    "a key without a name": ("put", {"scope": "known", "string_value": "v"}, INVALID, "key: is required"),
    "a key of 129 characters": ("put", {"scope": "known", "key": "k" * 129, "string_value": "v"}, INVALID, "key: "),
    "a key that leads elsewhere": ("put", {"scope": "known", "key": "../k", "string_value": "v"}, INVALID, "key: "),
    "no value": ("put", {"scope": "known", "key": "k"}, INVALID, "string_value, bytes_value"),
    "two values": (
        "put", {"scope": "known", "key": "k", "string_value": VALUE, "bytes_value": "AA=="}, INVALID, "exactly one"
    ),
    "an empty value": ("put", {"scope": "known", "key": "k", "string_value": ""}, INVALID, "string_value: "),
    "a value that is a number": ("put", {"scope": "known", "key": "k", "string_value": 5}, INVALID, "string_value: "),
    "a value that is no base64": ("put", {"scope": "known", "key": "k", "bytes_value": VALUE}, INVALID, "bytes_value"),
    "a value too large": (
        "put", {"scope": "known", "key": "k", "string_value": "v" * (LARGEST_VALUE + 1)}, INVALID, "131072"
    ),
    "an unknown key to delete": ("delete", {"scope": "known", "key": "k"}, MISSING, "key k"),
    "a permission that there is not": (
        "acls/put", {"scope": "known", "principal": "a", "permission": "OWN"}, INVALID, "permission: must be one of"
    ),
    "a permission for nobody": ("acls/put", {"scope": "known", "permission": "READ"}, INVALID, "principal: "),
    "a permission for a line": (
        "acls/put", {"scope": "known", "principal": "a\nb", "permission": "READ"}, INVALID, "principal: "
    ),
    "a permission to take from a stranger": ("acls/delete", {"scope": "known", "principal": "a"}, MISSING, "a has no"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_names_the_field(client: httpx.AsyncClient, world: World, case: str) -> None:
    path, body, expected, told = REFUSED[case]
    world.add_scope("known")
    answer = await client.post(path, json=body)
    assert (answer.status_code, answer.json()["error_code"]) == expected
    assert told in answer.json()["message"]
    assert VALUE not in answer.text
    assert world.scopes["known"].values == {}


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("list", {}, INVALID),
        ("list", {"scope": "other"}, MISSING),
        ("acls/list", {"scope": "other"}, MISSING),
        ("acls/get", {"scope": "known", "principal": "nobody"}, MISSING),
        ("get", {"scope": "known", "key": "k"}, (400, "BAD_REQUEST")),
    ],
)
async def test_what_cannot_be_read(
    client: httpx.AsyncClient, world: World, path: str, query: dict[str, str], expected: tuple[int, str]
) -> None:
    world.add_scope("known", k=VALUE)
    answer = await client.get(path, params=query)
    assert (answer.status_code, answer.json()["error_code"]) == expected
    assert VALUE not in answer.text


async def test_a_scope_that_the_caller_may_not_read_stays_closed(client: httpx.AsyncClient, world: World) -> None:
    world.add_scope("closed", readers=frozenset({BOB.name}), k=VALUE)
    assert await get(client, "scopes/list") == {"scopes": []}
    for answer in (
        await client.get("list", params={"scope": "closed"}),
        await client.post("put", json={"scope": "closed", "key": "k", "string_value": "mine"}),
        await client.post("acls/put", json={"scope": "closed", "principal": ALICE.name, "permission": "READ"}),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert world.scopes["closed"].values == {"k": VALUE.encode()}


# Rotation


async def make_endpoint(world: World, name: str, key: str) -> None:
    entity = {
        "name": "main",
        "externalModel": {
            "name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat",
            "openaiConfig": {"openaiApiKeySecretRef": {"name": "s", "key": key}},
        },
    }  # fmt: skip
    manifest = {
        "apiVersion": "model-serving.dev/v1alpha1",
        "kind": "ServingEndpoint",
        "metadata": {"name": name},
        "spec": {"config": {"servedEntities": [entity]}},
    }
    await world.platform().endpoints.create(ALICE, parse_endpoint(manifest))
    world.serve(name)


async def test_a_new_value_reaches_those_who_use_the_key_and_makes_no_version(
    client: httpx.AsyncClient, world: World
) -> None:
    world.add_scope("s")
    await make_endpoint(world, "user", "k")
    await make_endpoint(world, "other", "another-key")
    before = world.endpoint("user").metadata.generation
    await post(client, "put", scope="s", key="k", string_value="one")
    first = world.endpoint("user").metadata.annotations[RELOAD_ANNOTATION]
    await post(client, "put", scope="s", key="k", string_value="two")
    assert world.endpoint("user").metadata.annotations[RELOAD_ANNOTATION] not in ("", first)
    assert RELOAD_ANNOTATION not in world.endpoint("other").metadata.annotations
    assert world.endpoint("user").metadata.generation == before
    assert world.writes[-1] == (ALICE.token, "update", "user")
    world.look("user")
    assert world.endpoint("user").status.config_version == 1


async def test_a_caller_who_may_not_change_the_endpoint_can_still_put(client: httpx.AsyncClient, world: World) -> None:
    world.add_scope("s")
    await make_endpoint(world, "user", "k")
    writes = len(world.writes)
    answer = await client.post(
        "put",
        json={"scope": "s", "key": "k", "string_value": "one"},
        headers={"Authorization": f"Bearer {BOB.token}"},
    )
    assert answer.status_code == 200
    assert world.scopes["s"].values["k"] == b"one"
    assert len(world.writes) == writes


async def test_a_race_with_another_writer_is_run_again(client: httpx.AsyncClient, world: World) -> None:
    world.add_scope("s")
    await make_endpoint(world, "user", "k")
    races = iter([True, False])

    async def race(verb: str, _: str) -> None:
        if verb == Verb.UPDATE and next(races):
            raise Changed("somebody was faster")

    world.before_write = race
    await post(client, "put", scope="s", key="k", string_value="one")
    assert RELOAD_ANNOTATION in world.endpoint("user").metadata.annotations
