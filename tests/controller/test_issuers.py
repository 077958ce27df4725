"""What the operator makes of issuers: the setting, metrics, its right to read keys, and what a policy remembers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from model_serving.controller.desired.config_map import policy_map
from model_serving.controller.operator import Operator
from model_serving.controller.proxy_reader import ProxyReader
from model_serving.controller.recorded_issuers import recorded_issuers
from model_serving.controller.settings import SettingsError, from_environ
from model_serving.kube.client import Client
from model_serving.kube.issuers.jwks import public_keys
from model_serving.kube.issuers.renewal import API_SERVER
from model_serving.lifecycle.proxy_config import build_policy
from model_serving.proxy_config import Issuer
from tests.controller.factory import endpoint, owner
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.issuers.documents import CLUSTER, LOGIN, rsa


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as found:
        yield found


@pytest.fixture
async def client(api: FakeKubeApi) -> AsyncIterator[Client]:
    async with Client(api.connection) as found:
        yield found


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


def test_a_bad_setting_of_issuers_is_named() -> None:
    with pytest.raises(SettingsError, match="MODEL_SERVING_ISSUERS: set it to a YAML list of issuers"):
        from_environ({"MODEL_SERVING_ISSUERS": "issuer: x"})


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
