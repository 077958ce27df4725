"""Keys in plain text: kept in a Secret that the endpoint owns, one value per version, never shown nor left behind."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from model_serving.stores import Away, Denied, Stored, Verb
from tests.management.memory import ALICE, MemoryEndpoints, World
from tests.management.rest import API, AT, NAME, create_body, entity, good, refused


def plain(key: str, model: str = "gpt-4") -> dict[str, Any]:
    return {"served_entities": [entity(model=model, openai_api_key_plaintext=key)]}


def kept(shop: World) -> list[str]:
    """All values that some endpoint's Secret holds."""
    return sorted(value.decode() for secret in shop.owned.values() for value in secret.values.values())


def named(shop: World) -> str:
    """The value that the config of the endpoint names."""
    (one,) = shop.endpoint(NAME).spec.config.served_entities
    ref = one.external_model.openai_config.openai_api_key_secret_ref  # type: ignore[union-attr]
    assert ref is not None
    return shop.owned[ref.name].values[ref.key].decode()


@pytest.fixture
async def endpoint(rest: httpx.AsyncClient) -> str:
    """One with the key sk-1 in plain text."""
    good(await rest.post(API, json=create_body(openai_api_key_plaintext="sk-1")))
    return AT


async def test_the_key_is_written_before_the_endpoint_and_belongs_to_it(shop: World, endpoint: str) -> None:
    made = shop.endpoint(NAME).metadata
    (secret,) = shop.owned.values()
    assert named(shop) == "sk-1" and secret.owner == made.uid
    assert [what for _, what, _ in shop.writes] == ["write_owned", "create"]
    assert {token for token, _, _ in shop.writes} == {ALICE.token}


async def test_the_key_is_never_shown(
    rest: httpx.AsyncClient, shop: World, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [await rest.put(endpoint + "/config", json=plain("sk-2"))]
    answers += [await rest.get(path) for path in (endpoint, API, endpoint + "/config-history", endpoint + "/openapi")]
    answers.append(
        await rest.put(endpoint + "/config", json={"served_entities": [entity(openai_api_key_plaintext="sk-3", x="")]})
    )
    answers.append(await rest.post(API, json=create_body("a b", openai_api_key_plaintext="sk-4")))
    text = "".join(each.text + str(each.headers) for each in answers) + caplog.text
    assert not any(key in text for key in ("sk-1", "sk-2", "sk-3", "sk-4"))
    assert not any(key in repr(shop.endpoint(NAME)) for key in ("sk-1", "sk-2"))


async def test_the_same_key_again_is_no_update(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    (name,) = shop.owned
    before = dict(shop.owned[name].values)
    body = create_body(openai_api_key_plaintext="sk-1")["config"]
    answer = good(await rest.put(endpoint + "/config", json=body))
    assert answer["state"]["config_update"] == "NOT_UPDATING" and shop.owned[name].values == before


async def test_each_version_keeps_its_key(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    good(await rest.put(endpoint + "/config", json=plain("sk-2")))
    good(await rest.get(endpoint))
    assert kept(shop) == ["sk-1", "sk-2"] and named(shop) == "sk-2"
    good(await rest.post(endpoint + "/config:rollback", json={"config_version": 1}))
    assert named(shop) == "sk-1"


async def test_keys_that_no_kept_version_needs_are_removed(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    for number in range(2, 16):
        good(await rest.put(endpoint + "/config", json=plain(f"sk-{number}")))
        good(await rest.get(endpoint))
    assert len(kept(shop)) <= 12 and "sk-1" not in kept(shop) and named(shop) == "sk-15"
    for revision in shop.record(NAME).history:
        (one,) = revision.parsed_config.served_entities
        ref = one.external_model.openai_config.openai_api_key_secret_ref  # type: ignore[union-attr]
        assert ref is not None and ref.key in shop.owned[ref.name].values, "every version that is kept has its key"


async def test_a_move_to_a_scope_is_an_update(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    good(await rest.put(endpoint + "/config", json={"served_entities": [entity()]}))
    shown = good(await rest.get(endpoint))["config"]["served_entities"][0]["external_model"]["openai_config"]
    assert shown == {"openai_api_key": "{{secrets/my_scope/my_openai_api_key}}"}


async def test_deleting_takes_the_keys_away_at_once(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    good(await rest.delete(endpoint))
    assert not shop.owned
    good(await rest.post(API, json=create_body(openai_api_key_plaintext="sk-new")))
    assert kept(shop) == ["sk-new"]


async def test_a_refused_creation_leaves_no_key(rest: httpx.AsyncClient, shop: World) -> None:
    shop.rights[ALICE.name] = frozenset({Verb.LIST})
    refused(await rest.post(API, json=create_body(openai_api_key_plaintext="sk-1")), 403, "create")
    assert not shop.owned and not shop.records


async def test_a_refused_update_leaves_the_keys_as_they_were(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    async def denied(verb: str, name: str) -> None:
        raise Denied("not today")

    shop.before_write = denied
    refused(await rest.put(endpoint + "/config", json=plain("sk-2")), 403, "not today")
    assert kept(shop) == ["sk-1"]


async def test_a_race_leaves_one_key_per_version(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    async def race(verb: str, name: str) -> None:
        shop.before_write = None
        good(await rest.patch(endpoint + "/tags", json={"add_tags": [{"key": "racer"}]}))

    shop.before_write = race
    good(await rest.put(endpoint + "/config", json=plain("sk-2")))
    assert kept(shop) == ["sk-1", "sk-2"] and named(shop) == "sk-2"


async def test_an_endpoint_that_cannot_own_its_keys_is_taken_back(
    rest: httpx.AsyncClient, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def denied(*_: object) -> None:
        raise Denied("may not update Secrets")

    monkeypatch.setattr("tests.management.memory.MemorySecrets.adopt", denied)
    refused(await rest.post(API, json=create_body(openai_api_key_plaintext="sk-1")), 403, "may not update Secrets")
    assert not shop.owned and not shop.records


async def test_who_may_not_read_the_keys_is_told_the_way_round(
    rest: httpx.AsyncClient, shop: World, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def denied(*_: object) -> None:
        raise Denied("may not get Secrets")

    monkeypatch.setattr("tests.management.memory.MemorySecrets.owned", denied)
    refused(await rest.put(endpoint + "/config", json=plain("sk-2")), 403, "{{secrets/SCOPE/KEY}}")
    good(await rest.put(endpoint + "/config", json={"served_entities": [entity()]}))
    good(await rest.delete(endpoint))


async def test_a_secret_that_the_caller_may_not_read_is_refused(rest: httpx.AsyncClient, shop: World) -> None:
    shop.scopes["my_scope"].readers = frozenset({"somebody"})
    refused(await rest.post(API, json=create_body()), 400, "my_scope", "my_openai_api_key", "may not read")
    assert not shop.records


async def test_an_endpoint_that_was_made_without_an_answer_keeps_its_key(
    rest: httpx.AsyncClient, shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away says that it may have been done: without its key it would never serve."""
    create = MemoryEndpoints.create

    async def unanswered(self: MemoryEndpoints, *args: Any) -> Stored:
        await create(self, *args)
        raise Away("no answer")

    monkeypatch.setattr(MemoryEndpoints, "create", unanswered)
    refused(await rest.post(API, json=create_body(openai_api_key_plaintext="sk-1")), 503, "no answer")
    (secret,) = shop.owned.values()
    assert named(shop) == "sk-1" and secret.owner == shop.endpoint(NAME).metadata.uid


async def test_an_endpoint_that_was_not_made_leaves_no_key_when_the_platform_was_away(
    rest: httpx.AsyncClient, shop: World
) -> None:
    async def away(verb: str, name: str) -> None:
        raise Away("no answer")

    shop.before_write = away
    refused(await rest.post(API, json=create_body(openai_api_key_plaintext="sk-1")), 503, "no answer")
    assert not shop.owned


async def test_an_update_that_was_written_without_an_answer_keeps_its_key(
    rest: httpx.AsyncClient, shop: World, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = MemoryEndpoints.replace

    async def unanswered(self: MemoryEndpoints, *args: Any) -> Stored:
        await replace(self, *args)
        raise Away("no answer")

    monkeypatch.setattr(MemoryEndpoints, "replace", unanswered)
    refused(await rest.put(endpoint + "/config", json=plain("sk-2")), 503, "no answer")
    assert named(shop) == "sk-2"


async def test_a_deletion_leaves_the_keys_of_the_next_endpoint_of_that_name(
    rest: httpx.AsyncClient, shop: World, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = MemoryEndpoints.delete

    async def followed(self: MemoryEndpoints, *args: Any) -> None:
        await delete(self, *args)
        good(await rest.post(API, json=create_body(openai_api_key_plaintext="sk-next")))

    monkeypatch.setattr(MemoryEndpoints, "delete", followed)
    good(await rest.delete(endpoint))
    assert kept(shop) == ["sk-next"] and named(shop) == "sk-next"
