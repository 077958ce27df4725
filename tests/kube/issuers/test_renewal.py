"""Renewal of issuers' keys, which never loses what was good."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from model_serving.kube.client import Client
from model_serving.kube.issuers.reader import ReadError
from model_serving.kube.issuers.renewal import API_SERVER, Issuers
from model_serving.kube.issuers.settings import parse_issuers
from model_serving.proxy_config import Issuer
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.kube.issuers.documents import CLUSTER, LOGIN, ec, rsa


class World:
    """The API server's and an identity provider's documents, and who reads them."""

    def __init__(self, api: FakeKubeApi, client: Client, setting: str = "") -> None:
        self.documents: dict[str, Any] = {
            f"{LOGIN}/.well-known/openid-configuration": {"issuer": LOGIN, "jwks_uri": f"{LOGIN}/keys"},
            f"{LOGIN}/keys": {"keys": [ec("e1")]},
        }
        self.discovery = Failure(
            200, lambda r: r.path.endswith("openid-configuration"), 10**6, body={"issuer": CLUSTER}
        )
        self.keys = Failure(200, lambda r: r.path == "/openid/v1/jwks", 10**6, body={"keys": [rsa("r1")]})
        api.failures += [self.discovery, self.keys]
        self.changes = 0
        settings = parse_issuers(setting or json.dumps([{"issuer": LOGIN}]))
        self.issuers = Issuers(client, settings, seconds=600, changed=self._change, read=self._read)

    def _change(self) -> None:
        self.changes += 1

    async def _read(self, url: str, authority: str) -> Any:
        if url not in self.documents:
            raise ReadError(f"reading {url}: no answer")
        return self.documents[url]

    def kids(self, recorded: list[Issuer] | None = None) -> dict[str, list[str]]:
        """The ids of the keys that are in force, by issuer."""
        return {i.issuer: [key["kid"] for key in i.keys] for i in self.issuers.with_recorded(recorded or ())}


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as found:
        yield found


@pytest.fixture
async def client(api: FakeKubeApi) -> AsyncIterator[Client]:
    async with Client(api.connection) as found:
        yield found


async def test_the_api_server_and_the_others_are_read(api: FakeKubeApi, client: Client) -> None:
    world = World(api, client)
    assert (world.kids(), world.issuers.complete) == ({}, False)
    await world.issuers.renew()
    assert world.kids() == {CLUSTER: ["r1"], LOGIN: ["e1"]}
    cluster, login = world.issuers.with_recorded()
    assert (cluster.service_accounts, cluster.audiences) == (True, ["model-serving"])
    assert (login.service_accounts, login.keys[0]["alg"]) == (False, "ES256")
    assert (world.changes, world.issuers.complete, world.issuers.problems) == (1, True, {})
    assert world.issuers.key_counts() == {API_SERVER: 1, LOGIN: 1}


async def test_nothing_is_said_to_have_changed_when_nothing_has(api: FakeKubeApi, client: Client) -> None:
    world = World(api, client)
    world.keys.body = {"keys": [rsa("r1"), rsa("r2")]}
    await world.issuers.renew()
    world.keys.body = {"keys": [rsa("r2", x5t="x"), rsa("r1")]}
    await world.issuers.renew()
    assert world.changes == 1


async def test_keys_are_rotated(api: FakeKubeApi, client: Client) -> None:
    world = World(api, client)
    for kids in (["r1"], ["r1", "r2"], ["r2"]):
        world.keys.body = {"keys": [rsa(kid) for kid in kids]}
        await world.issuers.renew()
        assert world.kids()[CLUSTER] == kids
    assert world.changes == 3


async def test_a_failed_reading_keeps_the_last_good_keys_and_is_told_once(
    api: FakeKubeApi, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(api, client)
    await world.issuers.renew()
    del world.documents[f"{LOGIN}/keys"]
    world.keys.body = {"keys": []}
    caplog.clear()
    with caplog.at_level(logging.INFO):
        await world.issuers.renew()
        await world.issuers.renew()
    assert world.kids() == {CLUSTER: ["r1"], LOGIN: ["e1"]}
    assert (world.changes, world.issuers.failures) == (1, 4)
    assert set(world.issuers.problems) == {API_SERVER, LOGIN}
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 2
    world.documents[f"{LOGIN}/keys"] = {"keys": [ec("e2")]}
    await world.issuers.renew()
    assert world.kids()[LOGIN] == ["e2"] and set(world.issuers.problems) == {API_SERVER}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"issuer": LOGIN + "/", "jwks_uri": f"{LOGIN}/keys"}, id="of another issuer"),
        pytest.param({"issuer": LOGIN}, id="without the keys' place"),
        pytest.param({"issuer": LOGIN, "jwks_uri": 5}, id="a place that is no text"),
        pytest.param([LOGIN], id="no object"),
    ],
)
async def test_a_discovery_document_that_cannot_be_is_refused(api: FakeKubeApi, client: Client, document: Any) -> None:
    world = World(api, client)
    world.documents[f"{LOGIN}/.well-known/openid-configuration"] = document
    await world.issuers.renew()
    assert world.kids() == {CLUSTER: ["r1"]} and LOGIN in world.issuers.problems


async def test_keys_of_the_setting_need_no_reading(api: FakeKubeApi, client: Client) -> None:
    world = World(api, client, json.dumps([{"issuer": LOGIN, "keys": [ec("fixed")]}]))
    world.documents.clear()
    await world.issuers.renew()
    assert world.kids()[LOGIN] == ["fixed"]


async def test_a_jwks_url_of_the_setting_is_read_itself(api: FakeKubeApi, client: Client) -> None:
    world = World(api, client, json.dumps([{"issuer": LOGIN, "jwksUrl": "https://other.example/k"}]))
    world.documents = {"https://other.example/k": {"keys": [ec("there")]}}
    await world.issuers.renew()
    assert world.kids()[LOGIN] == ["there"]


async def test_the_clusters_own_issuer_cannot_be_taken_over_by_the_setting(api: FakeKubeApi, client: Client) -> None:
    world = World(api, client, json.dumps([{"issuer": CLUSTER, "keys": [ec("mine")]}]))
    await world.issuers.renew()
    (only,) = world.issuers.with_recorded()
    assert only.service_accounts and [key["kid"] for key in only.keys] == ["r1"]


async def test_until_keys_can_be_read_those_of_the_policy_stay(api: FakeKubeApi, client: Client) -> None:
    before = World(api, client)
    await before.issuers.renew()
    recorded = list(before.issuers.with_recorded())
    api.failures.clear()
    after = World(api, client, json.dumps([{"issuer": LOGIN, "usernamePrefix": "new:"}]))
    after.keys.status = after.discovery.status = 403
    after.documents.clear()
    await after.issuers.renew()
    assert after.kids() == {} and not after.issuers.complete
    assert after.kids([*recorded, Issuer("https://gone.example", ["x"], [])]) == {CLUSTER: ["r1"], LOGIN: ["e1"]}
    assert after.issuers.with_recorded(recorded)[1].username_prefix == "new:", "the mapping is the setting's of today"
    after.keys.status = after.discovery.status = 200
    await after.issuers.renew()
    assert after.issuers.with_recorded(recorded)[0] == recorded[0], "no write for what is as it was"
