"""Who am I, as clients ask it; and what the CLI tells of itself."""

from __future__ import annotations

import httpx
import pytest

from model_serving.management.app import build_app
from model_serving.management.identity import OPERATIONS, stable_id
from model_serving.stores import Caller
from tests.management.memory import ALICE, World

ROBOT = Caller("system:serviceaccount:gen-ai:robot", frozenset({"system:serviceaccounts"}), token="robot-token")


async def ask(method: str, path: str, token: str = ALICE.token) -> httpx.Response:
    world = World()
    world.people[ROBOT.token] = ROBOT
    transport = httpx.ASGITransport(build_app(world.platform(), OPERATIONS))
    async with httpx.AsyncClient(transport=transport, base_url="http://workspace") as client:
        return await client.request(method, path, headers={"Authorization": f"Bearer {token}"})


ME = "/api/2.0/preview/scim/v2/Me"


@pytest.mark.parametrize("query", ["", "?", "?excludedAttributes=entitlements", "?attributes=id,userName&x=%00"])
async def test_me_is_the_caller_whatever_the_query(query: str) -> None:
    answer = await ask("GET", ME + query)
    assert answer.status_code == 200
    assert answer.headers["X-Databricks-Org-Id"] == "4711"
    body = answer.json()
    assert body.pop("id").isdigit()
    assert [group.pop("value").isdigit() for group in body["groups"]] == [True]
    assert body == {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "alice@example.com",
        "displayName": "alice@example.com",
        "active": True,
        "emails": [{"type": "work", "value": "alice@example.com", "primary": True}],
        "groups": [{"display": "writers"}],
    }


async def test_a_service_account_has_no_e_mail() -> None:
    body = (await ask("GET", ME, ROBOT.token)).json()
    assert (body["userName"], body["emails"]) == (ROBOT.name, [])


async def test_nobody_is_nobody() -> None:
    answer = await ask("GET", ME, "unknown")
    assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_an_id_is_the_same_for_ever_and_another_for_another_name() -> None:
    assert stable_id("alice@example.com") == "1541688758211263"
    ids = {stable_id(f"user-{n}") for n in range(1000)}
    assert len(ids) == 1000
    assert all(len(each) == 16 and each.isdigit() and each[0] != "0" for each in ids)


@pytest.mark.parametrize("path", ["/telemetry-ext", "/api/2.0/telemetry-ext"])
async def test_telemetry_is_taken_and_dropped(path: str) -> None:
    answer = await ask("POST", path)
    assert (answer.status_code, answer.json()) == (200, {})
