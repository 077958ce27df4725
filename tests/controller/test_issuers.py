"""Whose tokens proxies accept: keys out of documents, the setting, and renewal that never loses what was good."""

from __future__ import annotations

import json
import logging
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from model_serving.controller.desired.config_map import policy_map
from model_serving.controller.issuer_settings import parse_issuers
from model_serving.controller.issuers import API_SERVER, Issuers, recorded_issuers
from model_serving.controller.jwks import KeysError, public_keys
from model_serving.controller.jwks_reader import ReadError, read_json
from model_serving.controller.operator import Operator
from model_serving.controller.proxy_reader import ProxyReader
from model_serving.controller.settings import SettingsError, from_environ
from model_serving.kube.client import Client
from model_serving.lifecycle.proxy_config import build_policy
from model_serving.proxy_config import Issuer
from tests.controller.factory import endpoint, owner
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.proxy.certificates import make_pair

Json = dict[str, Any]
LOGIN = "https://login.example/realm"
CLUSTER = "https://kubernetes.default.svc"


def text(size: int, fill: int = 7) -> str:
    return urlsafe_b64encode(bytes([fill]) * size).rstrip(b"=").decode()


def rsa(kid: str = "r1", **members: Any) -> Json:
    return {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": text(256), "e": "AQAB"} | members


def ec(kid: str = "e1", **members: Any) -> Json:
    return {"kty": "EC", "kid": kid, "crv": "P-256", "x": text(32), "y": text(32, 8)} | members


# Keys


def test_only_what_is_public_and_of_use_is_handed_on_in_one_order() -> None:
    document = {"keys": [rsa("b", x5c=["MIIB"], key_ops=["verify"]), ec("a")], "more": 1}
    found = public_keys(document)
    assert [set(key) for key in found] == [{"kty", "alg", "kid", "crv", "x", "y"}, {"kty", "alg", "kid", "n", "e"}]
    assert found == public_keys({"keys": [ec("a"), rsa("b")]})
    assert public_keys({"keys": [rsa(d="AAAA", p="AAAA")]}) == public_keys({"keys": [rsa()]}), "never a private member"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({"kty": "oct", "k": "AAAA", "kid": "x"}, id="a secret"),
        pytest.param({"kty": "OKP", "crv": "Ed25519", "x": text(32)}, id="another type"),
        pytest.param({"kty": ["RSA"]}, id="a type that is no text"),
        pytest.param("RSA", id="no object"),
        pytest.param(rsa(use="enc"), id="for encryption"),
        pytest.param(rsa(alg="RS512"), id="another algorithm"),
        pytest.param(rsa(alg="ES256"), id="the other type's algorithm"),
        pytest.param(rsa(n=text(128)), id="1024 bits"),
        pytest.param(rsa(n="é"), id="no base64"),
        pytest.param(rsa(n=5), id="a number"),
        pytest.param(rsa(n=text(5000)), id="far too long"),
        pytest.param(rsa(e=""), id="no exponent"),
        pytest.param(rsa(kid=7), id="an id that is no text"),
        pytest.param(rsa(kid="k" * 300), id="a very long id"),
        pytest.param(ec(crv="P-384"), id="another curve"),
        pytest.param(ec(x=text(31)), id="a short coordinate"),
        pytest.param({"kty": "EC", "crv": "P-256"}, id="no coordinates"),
    ],
)
def test_other_keys_are_left_out_and_alone_are_no_document(key: Any) -> None:
    assert public_keys({"keys": [key, rsa()]}) == public_keys({"keys": [rsa()]})
    with pytest.raises(KeysError, match="no key for"):
        public_keys({"keys": [key]})


@pytest.mark.parametrize(
    "document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [rsa(str(n)) for n in range(33)]}]
)
def test_what_is_no_set_of_keys_is_refused(document: Any) -> None:
    with pytest.raises(KeysError):
        public_keys(document)


# The setting


def test_the_setting_mirrors_the_api_servers_claim_mapping() -> None:
    (setting,) = parse_issuers(f"""
- issuer: {LOGIN}
  audiences: [serving]
  usernameClaim: email
  usernamePrefix: "oidc:"
  groupsClaim: roles
  groupsPrefix: "oidc:"
""")
    issuer = setting.with_keys([{"kty": "RSA"}])
    assert issuer == Issuer(
        LOGIN, ["serving"], [{"kty": "RSA"}],
        username_claim="email", username_prefix="oidc:", groups_claim="roles", groups_prefix="oidc:",
    )  # fmt: skip
    assert parse_issuers(json.dumps([{"issuer": LOGIN, "keys": [rsa()]}]))[0].audiences == ("model-serving",)
    assert parse_issuers("[]") == ()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        pytest.param("{", "a YAML list of issuers", id="no YAML"),
        pytest.param("issuer: x", "a YAML list of issuers", id="no list"),
        pytest.param([{"audiences": ["a"]}], "missing required field `issuer`", id="no issuer"),
        pytest.param([{"issuer": LOGIN, "audience": "a"}], "unknown field `audience`", id="a field misspelt"),
        pytest.param([{"issuer": "http://login.example"}], "https:// URL", id="plain HTTP"),
        pytest.param([{"issuer": "https://a:b@login.example"}], "https:// URL", id="a user in the URL"),
        pytest.param([{"issuer": "https://login.example?x=1"}], "https:// URL", id="a query in the URL"),
        pytest.param([{"issuer": LOGIN, "jwksUrl": "file:///etc/passwd"}], "jwksUrl to an https:// URL", id="a file"),
        pytest.param([{"issuer": LOGIN, "audiences": []}], "name the audiences", id="no audience"),
        pytest.param([{"issuer": LOGIN, "audiences": [""]}], "name the audiences", id="an empty audience"),
        pytest.param([{"issuer": LOGIN, "usernameClaim": ""}], "usernameClaim", id="no claim"),
        pytest.param([{"issuer": LOGIN}, {"issuer": LOGIN}], "each issuer once", id="twice"),
        pytest.param([{"issuer": LOGIN, "keys": [rsa()], "jwksUrl": LOGIN}], "either keys or jwksUrl", id="both"),
        pytest.param([{"issuer": LOGIN, "keys": [{"kty": "oct"}]}], "correct keys", id="a secret key"),
        pytest.param([{"issuer": LOGIN, "certificateAuthority": "x"}], "in PEM", id="no certificate"),
        pytest.param([{"issuer": f"https://{n}.example"} for n in range(17)], "at most 16", id="too many"),
    ],
)
def test_a_bad_setting_is_named_with_the_remedy(setting: Any, words: str) -> None:
    value = setting if isinstance(setting, str) else json.dumps(setting)
    with pytest.raises(SettingsError, match="MODEL_SERVING_ISSUERS") as caught:
        from_environ({"MODEL_SERVING_ISSUERS": value})
    assert words in str(caught.value)


# Renewal


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


async def test_only_an_endpoints_own_policy_is_believed(api: FakeKubeApi, client: Client) -> None:
    path = "/api/v1/namespaces/gen-ai/configmaps"
    assert await recorded_issuers(client, owner()) == []
    issuer = Issuer(CLUSTER, ["model-serving"], public_keys({"keys": [rsa()]}), service_accounts=True)
    manifest = policy_map(owner(), build_policy(endpoint(), 1, "public", issuers=[issuer]))
    api.put(path, manifest)
    assert await recorded_issuers(client, owner()) == [issuer]
    api.put(path, {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": []}})
    assert await recorded_issuers(client, owner()) == []
    api.put(path, {**manifest, "data": {"policy.json": "{"}})
    assert await recorded_issuers(client, owner()) == []


async def test_the_operator_tells_of_its_issuers_in_its_metrics(api: FakeKubeApi, client: Client) -> None:
    operator = Operator(from_environ({"MODEL_SERVING_ISSUERS": json.dumps([{"issuer": LOGIN}])}), client, ProxyReader())
    page = operator.metrics.render().decode()
    for name in (API_SERVER, LOGIN):
        assert f'model_serving_operator_issuer_keys{{issuer="{name}"}} 0.0' in page
        assert f'model_serving_operator_issuer_failing{{issuer="{name}"}} 0.0' in page


def test_the_operator_is_given_the_right_to_read_the_clusters_keys() -> None:
    path = Path(__file__).parents[2] / "manifests/operator/issuer_discovery.yaml"
    binding = yaml.safe_load(path.read_text())
    assert binding["roleRef"]["name"] == "system:service-account-issuer-discovery"
    assert [subject["name"] for subject in binding["subjects"]] == ["model-serving-operator"]


# Reading


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """A server with TLS: its base URL, and the certificate that it shows."""
    pair = make_pair(tmp_path, "issuer")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/big":
            return web.Response(body=b'"' + b"x" * 600_000 + b'"')
        if request.path == "/moved":
            raise web.HTTPFound("/keys")
        if request.path == "/keys":
            return web.json_response({"keys": [1]})
        return web.Response(text="{" if request.path == "/bad" else "", status=200 if request.path == "/bad" else 404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "issuer.crt", tmp_path / "issuer.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://localhost:{runner.addresses[0][1]}", pair.certificate.decode()
    await runner.cleanup()


async def test_documents_are_read_from_servers_that_show_the_right_certificate(site: tuple[str, str]) -> None:
    base, authority = site
    assert await read_json(f"{base}/keys", authority) == {"keys": [1]}
    with pytest.raises(ReadError, match="ertificate"):
        await read_json(f"{base}/keys")


@pytest.mark.parametrize(
    ("path", "words"), [("/big", "larger than"), ("/moved", "302"), ("/none", "404"), ("/bad", "reading")]
)
async def test_other_answers_are_refused(site: tuple[str, str], path: str, words: str) -> None:
    base, authority = site
    with pytest.raises(ReadError, match=words):
        await read_json(base + path, authority)


async def test_plain_http_is_never_asked() -> None:
    with pytest.raises(ReadError, match="https://"):
        await read_json("http://127.0.0.1:1/keys")
