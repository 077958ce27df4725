"""Updates of a config: in progress at once, one at a time, cancelled, tried anew and rolled back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from model_serving.api.names import CANCEL_ANNOTATION
from model_serving.management.call import Patience
from model_serving.stores import Changed, Locked, Verb
from tests.article import CREATE, UPDATE
from tests.management.memory import ALICE, World
from tests.management.rest import API, AT, NAME, config_of, connect, entity, good, refused


def state(body: dict[str, Any]) -> tuple[str, str]:
    return body["state"]["ready"], body["state"]["config_update"]


def models(config: dict[str, Any]) -> list[str]:
    return [each["external_model"]["name"] for each in config["served_entities"]]


async def running(rest: httpx.AsyncClient, shop: World, model: str = "gpt-4") -> None:
    """Starts an update that the operator has seen and that does not end by itself."""
    shop.steps = 0
    good(await rest.put(AT + "/config", json=config_of(model)))
    shop.look(NAME)


async def test_the_articles_update_goes_from_embeddings_to_chat(rest: httpx.AsyncClient, endpoint: str) -> None:
    answer = good(await rest.put(endpoint + "/config", json=UPDATE))
    assert state(answer) == ("READY", "IN_PROGRESS")
    assert models(answer["config"]) == ["text-embedding-ada-002"] and models(answer["pending_config"]) == ["gpt-4"]
    assert answer["pending_config"]["config_version"] == 2 and answer["pending_config"]["start_time"] > 0
    done = good(await rest.get(endpoint))
    assert state(done) == ("READY", "NOT_UPDATING") and "pending_config" not in done
    assert models(done["config"]) == ["gpt-4"] and done["config"]["config_version"] == 2
    assert done["task"] == "llm/v1/chat"


async def test_a_second_update_is_refused_while_one_runs(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    await running(rest, shop)
    refused(await rest.put(endpoint + "/config", json=config_of("gpt-5")), 409, NAME, "version 2", "config:cancel")


async def test_a_change_that_nobody_sees_is_a_conflict(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    shop.steps = 0
    good(await rest.patch(endpoint + "/tags", json={"add_tags": [{"key": "a"}]}))
    refused(await rest.put(endpoint + "/config", json=UPDATE), 409, NAME, "not been taken up")


async def test_a_change_that_is_seen_late_is_waited_for(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    shop.steps, found = 0, 0

    def late() -> None:
        nonlocal found
        found += 1
        if found == 8:
            shop.look(NAME)

    good(await rest.patch(endpoint + "/tags", json={"add_tags": [{"key": "a"}]}))
    shop.before_look = late
    async with connect(shop, patience=Patience(observed=30, poll=0.01)) as patient:
        good(await patient.put(endpoint + "/config", json=UPDATE))
    assert found >= 8


async def test_the_first_version_can_not_be_replaced_while_it_starts(rest: httpx.AsyncClient, shop: World) -> None:
    shop.steps = 0
    good(await rest.post(API, json=CREATE))
    shop.look(NAME)
    refused(await rest.put(AT + "/config", json=UPDATE), 409, "config version 1")


async def test_the_same_config_is_no_update(rest: httpx.AsyncClient, endpoint: str) -> None:
    before = good(await rest.get(endpoint))
    answer = good(await rest.put(endpoint + "/config", json=CREATE["config"]))
    assert state(answer) == ("READY", "NOT_UPDATING") and answer["config"] == before["config"]


async def test_a_failed_update_leaves_the_old_version_and_does_not_lock(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    shop.steps = 0
    good(await rest.put(endpoint + "/config", json=UPDATE))
    shop.fail(NAME, "no node takes the pod")
    failed = good(await rest.get(endpoint))
    assert state(failed) == ("READY", "UPDATE_FAILED")
    assert models(failed["config"]) == ["text-embedding-ada-002"]
    good(await rest.put(endpoint + "/config", json=config_of("gpt-5")))
    shop.serve(NAME)
    assert models(good(await rest.get(endpoint))["config"]) == ["gpt-5"]


REFUSED = {
    "from an external model to none": (
        {"served_entities": [{"entity_name": "main.models.mine", "entity_version": "1"}]},
        "served_entities",
    ),
    "a secret that is not there": (
        {"served_entities": [entity(openai_api_key="{{secrets/my_scope/nothing}}")]},
        "nothing",
    ),
    "routes that name nobody": (
        {
            "served_entities": [entity()],
            "traffic_config": {"routes": [{"served_model_name": "x", "traffic_percentage": 100}]},
        },
        "routes",
    ),
    "no entities": ({}, "served_entities"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_names_the_field_and_changes_nothing(
    rest: httpx.AsyncClient, shop: World, endpoint: str, case: str
) -> None:
    body, word = REFUSED[case]
    before = shop.endpoint(NAME)
    refused(await rest.put(endpoint + "/config", json=body), 400, word)
    assert shop.endpoint(NAME).spec == before.spec


# Somebody else writes too


async def test_a_write_in_between_is_not_lost(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    left = 2

    async def race(verb: str, name: str) -> None:
        nonlocal left
        if verb == Verb.UPDATE and left:
            left -= 1
            shop.before_write = None
            good(await rest.patch(endpoint + "/tags", json={"add_tags": [{"key": f"racer-{left}"}]}))
            shop.before_write = race

    shop.before_write = race
    good(await rest.put(endpoint + "/config", json=UPDATE))
    shop.before_write = None
    done = good(await rest.get(endpoint))
    assert {tag["key"] for tag in done["tags"]} == {"team", "racer-1", "racer-0"} and models(done["config"]) == [
        "gpt-4"
    ]


@pytest.mark.parametrize(
    ("method", "tail"),
    [("PUT", "/config"), ("PATCH", "/tags"), ("PUT", "/rate-limits")],
    ids=["config", "tags", "rate limits"],
)
async def test_others_without_end_are_a_conflict(
    rest: httpx.AsyncClient, shop: World, endpoint: str, method: str, tail: str
) -> None:
    bodies = {"/config": UPDATE, "/tags": {"add_tags": [{"key": "a"}]}, "/rate-limits": {"rate_limits": []}}

    async def race(verb: str, name: str) -> None:
        raise Changed("somebody was here")

    shop.before_write = race
    refused(await rest.request(method, endpoint + tail, json=bodies[tail]), 409, NAME)


async def test_a_lock_that_shows_only_at_the_write_is_a_conflict(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    async def locked(verb: str, name: str) -> None:
        raise Locked("an update is in progress")

    shop.before_write = locked
    refused(await rest.put(endpoint + "/config", json=UPDATE), 409, NAME)


# Cancel, retry, roll back


async def test_cancelling_ends_in_update_canceled(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    await running(rest, shop)
    shop.before_look = lambda: shop.look(NAME, done=False)
    cancelled = good(await rest.post(endpoint + "/config:cancel"))
    assert state(cancelled) == ("READY", "UPDATE_CANCELED")
    assert models(cancelled["config"]) == ["text-embedding-ada-002"] and "pending_config" not in cancelled
    assert shop.writes[-1][0] == ALICE.token
    refused(await rest.post(endpoint + "/config:cancel"), 400, "nothing can be cancelled")


async def test_a_retried_update_can_be_cancelled_again(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    await running(rest, shop)
    shop.before_look = lambda: shop.look(NAME, done=False)
    for round_ in range(3):
        assert state(good(await rest.post(endpoint + "/config:cancel")))[1] == "UPDATE_CANCELED", f"round {round_}"
        assert state(good(await rest.post(endpoint + "/config:retry")))[1] == "IN_PROGRESS", f"round {round_}"
    shop.before_look = None
    shop.look(NAME)
    assert models(good(await rest.get(endpoint))["config"]) == ["gpt-4"]
    word = shop.endpoint(NAME).metadata.annotations[CANCEL_ANNOTATION]
    assert int(word) == shop.endpoint(NAME).metadata.generation


async def test_an_update_is_cancelled_before_the_operator_has_seen_it(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    shop.steps = 0
    good(await rest.put(endpoint + "/config", json=UPDATE))
    shop.before_look = lambda: shop.look(NAME, done=False)
    assert state(good(await rest.post(endpoint + "/config:cancel"))) == ("READY", "UPDATE_CANCELED")


@pytest.mark.parametrize("action", ["cancel", "retry"])
async def test_nothing_pending_is_nothing_to_cancel_or_retry(
    rest: httpx.AsyncClient, endpoint: str, action: str
) -> None:
    refused(await rest.post(f"{endpoint}/config:{action}"), 400, NAME, "nothing")


async def test_a_first_version_can_not_be_cancelled(rest: httpx.AsyncClient, shop: World) -> None:
    shop.steps = 0
    good(await rest.post(API, json=CREATE))
    shop.look(NAME)
    refused(await rest.post(AT + "/config:cancel"), 400, "first time", "delete it")


async def test_history_and_rollback(rest: httpx.AsyncClient, endpoint: str) -> None:
    good(await rest.put(endpoint + "/config", json=UPDATE))
    good(await rest.get(endpoint))
    versions = good(await rest.get(endpoint + "/config-history"))["versions"]
    assert [each["config_version"] for each in versions] == [2, 1]
    first = versions[1]["config"]["served_entities"]
    assert first == CREATE["config"]["served_entities"], "as it was sent"
    answer = good(await rest.post(endpoint + "/config:rollback", json={"config_version": 1}))
    assert state(answer) == ("READY", "IN_PROGRESS") and answer["pending_config"]["config_version"] == 3
    done = good(await rest.get(endpoint))
    assert models(done["config"]) == ["text-embedding-ada-002"] and done["config"]["config_version"] == 3


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"config_version": 9}, 404, "9"),
        ({}, 400, "config_version"),
        ({"config_version": "1"}, 400, "config_version"),
        ({"config_version": True}, 400, "config_version"),
    ],
    ids=["a version that is not kept", "none", "text", "no number"],
)
async def test_a_rollback_names_a_version_that_is_kept(
    rest: httpx.AsyncClient, endpoint: str, body: dict[str, Any], status: int, word: str
) -> None:
    refused(await rest.post(endpoint + "/config:rollback", json=body), status, word)


async def test_a_rollback_asks_for_its_secrets_again(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    other = {"served_entities": [entity(openai_api_key="{{secrets/other/key}}")]}
    shop.add_scope("other", key="sk-other")
    good(await rest.put(endpoint + "/config", json=other))
    good(await rest.get(endpoint))
    del shop.scopes["my_scope"].written["my_openai_api_key"]
    back = endpoint + "/config:rollback"
    refused(await rest.post(back, json={"config_version": 1}), 400, "my_scope", "my_openai_api_key")
    shop.scopes["my_scope"].readers = frozenset()
    refused(await rest.post(back, json={"config_version": 1}), 400, "my_scope", "may not read")


async def test_a_rollback_does_not_take_another_secret_for_the_scope_of_then(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    """The right to read the one would say nothing of the other."""
    good(await rest.put(endpoint + "/config", json=config_of("gpt-4")))
    good(await rest.get(endpoint))
    shop.scopes["my_scope"].object_name = "another"
    back = endpoint + "/config:rollback"
    refused(await rest.post(back, json={"config_version": 1}), 400, "openai_config.openai_api_key: ", "not the one")


async def test_a_rollback_to_a_scope_that_is_called_like_the_endpoints_secret(
    rest: httpx.AsyncClient, shop: World
) -> None:
    shop.add_scope("chat-keys", key="sk-1")
    first = entity(openai_api_key="{{secrets/chat-keys/key}}")
    at = f"{API}/chat"
    good(await rest.post(API, json={"name": "chat", "config": {"served_entities": [first]}}))
    good(await rest.put(at + "/config", json=config_of("gpt-4o")))
    good(await rest.get(at))
    back = good(await rest.post(at + "/config:rollback", json={"config_version": 1}))
    shown = (back.get("pending_config") or back["config"])["served_entities"][0]["external_model"]["openai_config"]
    assert shown == {"openai_api_key": "{{secrets/chat-keys/key}}"}


async def test_a_rollback_is_refused_while_an_update_runs(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    good(await rest.put(endpoint + "/config", json=UPDATE))
    good(await rest.get(endpoint))
    await running(rest, shop, "gpt-5")
    refused(await rest.post(endpoint + "/config:rollback", json={"config_version": 1}), 409, "version 3")
