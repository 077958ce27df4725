"""Create, list, get and delete, as clients of Databricks do."""

from __future__ import annotations

import httpx
import pytest

from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.stores import Away, Denied, Verb
from tests.article import CREATE
from tests.management.memory import ALICE, BOB, World
from tests.management.rest import API, AT, NAME, connect, create_body, entity, good, refused, workspace


@pytest.mark.parametrize("path", [API, API + "/"], ids=["as the SDK spells it", "as MLflow spells it"])
async def test_the_articles_example_is_answered_as_the_article_says(rest: httpx.AsyncClient, path: str) -> None:
    made = good(await rest.post(path, json=CREATE))
    (served,) = made["config"]["served_entities"]
    (route,) = made["config"]["traffic_config"]["routes"]
    assert made["name"] == NAME and made["creator"] == ALICE.name and len(made["id"]) == 32
    assert made["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"}
    assert served["external_model"] == CREATE["config"]["served_entities"][0]["external_model"]
    assert served["state"] == {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""}
    assert route["served_model_name"] == "openai_embeddings" and route["traffic_percentage"] == 100
    assert made["config"]["config_version"] == 1 and made["tags"] == CREATE["tags"]
    assert made["permission_level"] == "CAN_MANAGE" and made["route_optimized"] is False
    assert "rate_limits" not in made and "ai_gateway" not in made


async def test_a_slow_start_is_answered_in_progress() -> None:
    async with connect(workspace(steps=0)) as rest:
        made = good(await rest.post(API, json=CREATE))
    assert made["state"] == {"ready": "NOT_READY", "config_update": "IN_PROGRESS"}
    assert "config" not in made and made["pending_config"]["config_version"] == 1


async def test_the_resource_is_what_yaml_would_have_made(rest: httpx.AsyncClient, shop: World) -> None:
    good(await rest.post(API, json=CREATE))
    made = shop.endpoint(NAME)
    assert made.metadata.name.startswith("openai-endpoint-")
    assert made.metadata.annotations == {CREATOR_ANNOTATION: ALICE.name}
    (model,) = made.spec.config.served_entities
    block = model.written()["externalModel"]["openaiConfig"]
    assert block == {"openaiApiKeySecretRef": {"name": "my-scope", "key": "my_openai_api_key", "scope": "my_scope"}}
    assert [limit.calls for limit in made.spec.rate_limits or []] == [100]
    assert shop.writes == [(ALICE.token, "create", made.metadata.name)], "written with the caller's own token"


async def test_reads_its_own_writes(rest: httpx.AsyncClient) -> None:
    for _ in range(3):
        made = good(await rest.post(API, json=CREATE))
        assert good(await rest.get(AT)) == made
        assert [each["name"] for each in good(await rest.get(API))["endpoints"]] == [NAME]
        assert good(await rest.delete(AT)) == {}
        refused(await rest.get(AT), 404, NAME)
        refused(await rest.delete(AT), 404, NAME)
        assert good(await rest.get(API + "/")) == {"endpoints": []}


async def test_a_query_without_content_is_borne(rest: httpx.AsyncClient, endpoint: str) -> None:
    good(await rest.get(endpoint + "?"))


@pytest.mark.parametrize("name", ["pt", "chat", "get-model-optimization-info", "Endpoint_1", "a" * 63])
async def test_names_that_look_like_paths_are_names(rest: httpx.AsyncClient, name: str) -> None:
    good(await rest.post(API, json=create_body(name)))
    assert good(await rest.get(f"{API}/{name}"))["name"] == name
    good(await rest.put(f"{API}/{name}/config", json={"served_entities": [entity()]}))
    good(await rest.patch(f"{API}/{name}/tags", json={"add_tags": [{"key": "a"}]}))
    good(await rest.delete(f"{API}/{name}"))


REFUSED = {
    "a name alone, as the CLI's create sends it": ({"name": "some"}, "config"),
    "no name": ({"config": CREATE["config"]}, "name"),
    "a name with a space": (create_body("a b"), "name"),
    "a reserved name": (create_body("databricks-dbrx"), "databricks-"),
    "two external models": (
        {"name": "two", "config": {"served_entities": [entity("a"), entity("b")]}},
        "served_entities",
    ),
    "no entities": ({"name": "none", "config": {"served_entities": []}}, "served_entities"),
    "a config that is no object": ({"name": "none", "config": 3}, "config"),
    "a host that is never called": (
        create_body(
            openai_api_base="http://169.254.169.254/v1", openai_api_key="{{secrets/my_scope/my_openai_api_key}}"
        ),
        "openai_api_base",
    ),
    "no key": (create_body(openai_api_base="https://api.openai.com/v1"), "openai_api_key"),
    "a scope that does not exist": (create_body(openai_api_key="{{secrets/no_such/key}}"), "no_such"),
    "a key that does not exist": (create_body(openai_api_key="{{secrets/my_scope/other}}"), "other"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_names_the_field_and_leaves_nothing(
    rest: httpx.AsyncClient, shop: World, case: str
) -> None:
    body, word = REFUSED[case]
    refused(await rest.post(API, json=body), 400, word)
    assert not shop.records and not shop.owned and not shop.writes


async def test_a_taken_name_is_refused_by_its_code(rest: httpx.AsyncClient, endpoint: str) -> None:
    answer = await rest.post(API, json=CREATE)
    refused(answer, 400, NAME)
    assert answer.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"


async def test_a_private_host_needs_the_admins_leave() -> None:
    world = workspace()
    body = create_body(
        openai_api_base="http://llm.models.svc/v1", openai_api_key="{{secrets/my_scope/my_openai_api_key}}"
    )
    world.leave = "public"
    async with connect(world) as rest:
        refused(await rest.post(API, json=body), 400, "openai_api_base")
    world.leave = "private"
    async with connect(world) as rest:
        good(await rest.post(API, json=body))


async def test_an_object_that_somebody_keeps_is_changed_with_a_warning(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    shop.record(NAME).owner = "Argo CD (gen-ai/endpoints)"
    changed = await rest.put(endpoint + "/config", json={"served_entities": [entity(model="gpt-5")]})
    for answer in (changed, await rest.patch(endpoint + "/tags", json={"add_tags": [{"key": "a"}]})):
        (warning,) = good(answer)["warnings"]
        assert "Argo CD" in warning and NAME in warning
        assert answer.headers["warning"] == f'299 - "{warning}"'
    assert "warnings" not in good(await rest.get(endpoint))


async def test_a_platform_that_is_away_is_503_with_a_time(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    async def away(verb: str, name: str) -> None:
        raise Away("the API server gives no answer")

    shop.before_write = away
    answer = await rest.delete(endpoint)
    refused(answer, 503, "API server")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_refusal_of_the_platform_is_told_in_its_words(rest: httpx.AsyncClient, shop: World) -> None:
    async def denied(verb: str, name: str) -> None:
        raise Denied("the policy of this cluster forbids it")

    shop.before_write = denied
    refused(await rest.post(API, json=CREATE), 403, "the policy of this cluster forbids it")


async def test_who_may_not_create_is_told_so_before_anything_is_said_of_secrets(shop: World) -> None:
    shop.rights[BOB.name] = frozenset((Verb.GET, Verb.LIST))
    async with connect(shop, BOB) as bob:
        answer = await bob.post(API, json=CREATE)
    refused(answer, 403, "may not create serving endpoints")
    assert "secret" not in answer.json()["message"].lower()
