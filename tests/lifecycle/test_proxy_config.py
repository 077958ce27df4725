"""What proxies are told follows from the resource."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from model_serving.api.endpoint import ServingEndpoint
from model_serving.lifecycle.proxy_config import (
    build_policy,
    build_proxy_config,
    credential_name,
    nobody_may_call,
    secret_files,
    share,
)
from model_serving.lifecycle.revision import Revision, Shape
from model_serving.proxy_config import CredentialFile, Issuer, Limit, Policy, ProxyConfig
from tests.lifecycle.world import World, config


def revision(spec_config: dict[str, Any]) -> Revision:
    return Revision("chat", spec_config, 3, Shape(image="proxy:1"), number=1)


def endpoint(**spec: Any) -> ServingEndpoint:
    return World(spec={"config": config(), **spec}).endpoint


def test_openai_settings_and_credentials_keep_databricks_names() -> None:
    wanted = config()
    block = wanted["servedEntities"][0]["externalModel"]["openaiConfig"]
    block |= {"openaiApiBase": "https://llm.example.com/v1", "openaiOrganization": "org"}
    (target,) = build_proxy_config(revision(wanted)).targets
    assert target.settings == {
        "openai_api_type": "openai",
        "openai_api_base": "https://llm.example.com/v1",
        "openai_organization": "org",
    }
    assert target.credentials == {"openai_api_key": CredentialFile(secret="my-scope", key="openai")}
    assert (target.entity, target.model, target.task, target.weight) == ("chat", "gpt-4", "llm/v1/chat", 100)


@pytest.mark.parametrize(
    ("auth", "settings", "credential"),
    [
        ({"bearerTokenAuth": {"tokenSecretRef": {"name": "s", "key": "k"}}}, {}, "token"),
        (
            {"apiKeyAuth": {"key": "x-api-key", "valueSecretRef": {"name": "s", "key": "k"}}},
            {"key": "x-api-key"},
            "value",
        ),
    ],
    ids=["bearer", "header"],
)
def test_custom_settings_are_flat(auth: dict[str, Any], settings: dict[str, str], credential: str) -> None:
    url = "https://llm.example.com/v1/chat/completions"
    model = {"name": "m", "provider": "custom", "task": "llm/v1/chat"}
    wanted = {
        "servedEntities": [
            {"name": "e", "externalModel": {**model, "customProviderConfig": {"customProviderUrl": url, **auth}}}
        ]
    }
    (target,) = build_proxy_config(revision(wanted)).targets
    assert target.settings == {"custom_provider_url": url, **settings}
    assert target.credentials == {credential: CredentialFile(secret="s", key="k")}
    assert secret_files(revision(wanted)) == {"s": ("k",)}


def test_a_client_secret_keeps_its_name() -> None:
    assert credential_name("microsoft_entra_client_secret_ref") == "microsoft_entra_client_secret"
    assert credential_name("openai_api_key_secret_ref") == "openai_api_key"


def test_the_config_survives_the_file() -> None:
    built = build_proxy_config(revision(config()))
    assert msgspec.json.decode(msgspec.json.encode(built), type=ProxyConfig) == built
    assert built.revision == revision(config()).name


def test_limits_of_both_sources_are_enforced() -> None:
    limits = [{"calls": 100, "key": "user"}]
    policy = build_policy(endpoint(rateLimits=limits, aiGateway={"rateLimits": [{"calls": 9}]}), 1, "public")
    assert [(x.key, x.calls) for x in policy.limits] == [("user", 100), ("endpoint", 9)]


def test_limits_are_handed_on_whole_with_the_number_of_proxies_and_the_store() -> None:
    limits = [{"tokens": 100, "key": "user_group", "principal": "g"}]
    policy = build_policy(endpoint(rateLimits=limits), 3, "public", limits_store="valkey://v:1/0")
    assert policy.limits == [Limit("user_group", None, 100, "g")]
    assert policy.limits_parts == 3
    assert policy.limits_store is not None and policy.limits_store.url == "valkey://v:1/0"
    assert policy.limits_store.name == endpoint().databricks_id
    assert policy.version != build_policy(endpoint(rateLimits=limits), 2, "public").version
    assert build_policy(endpoint(), 3, "public", limits_store="valkey://v").limits_store is None


@pytest.mark.parametrize(("amount", "replicas", "each"), [(100, 1, 100), (100, 3, 33), (0, 3, 0), (5, 0, 5)])
def test_shares_never_sum_to_more(amount: int, replicas: int, each: int) -> None:
    assert share(amount, replicas) == each
    assert share(amount, replicas) * max(replicas, 1) <= amount


def test_access_becomes_grants() -> None:
    access = [
        {"kind": "Group", "name": "ds", "permissionLevel": "CAN_QUERY"},
        {"kind": "ServiceAccount", "name": "app", "permissionLevel": "CAN_QUERY"},
        {"kind": "ServiceAccount", "name": "viewer", "namespace": "other", "permissionLevel": "CAN_VIEW"},
    ]
    found = World(
        spec={"config": config(), "access": access}, annotations={"model-serving.dev/creator": "bob"}
    ).endpoint
    grants = {(g.kind, g.name): g.level for g in build_policy(found, 1, "public").grants}
    assert grants == {
        ("group", "ds"): "CAN_QUERY",
        ("user", "system:serviceaccount:gen-ai:app"): "CAN_QUERY",
        ("user", "system:serviceaccount:other:viewer"): "CAN_VIEW",
        ("user", "bob"): "CAN_MANAGE",
    }


def test_a_viewer_alone_may_not_call() -> None:
    assert nobody_may_call(endpoint(access=[{"kind": "User", "name": "a", "permissionLevel": "CAN_VIEW"}]))
    assert not nobody_may_call(endpoint(access=[{"kind": "User", "name": "a", "permissionLevel": "CAN_MANAGE"}]))


def test_the_version_of_a_policy_changes_with_what_it_says_and_with_nothing_else() -> None:
    plain = build_policy(endpoint(), 1, "public").version
    assert plain == build_policy(endpoint(tags=[{"key": "a"}]), 1, "public").version
    others = [
        build_policy(endpoint(rateLimits=[{"calls": 1}]), 1, "public").version,
        build_policy(
            endpoint(access=[{"kind": "User", "name": "a", "permissionLevel": "CAN_QUERY"}]), 1, "public"
        ).version,
        build_policy(endpoint(), 1, "private").version,
        build_policy(endpoint(), 1, "public", issuers=[ISSUER]).version,
        build_policy(endpoint(), 1, "public", issuers=[structs.replace(ISSUER, keys=[])]).version,
    ]
    assert len({plain, *others}) == 6


ISSUER = Issuer("https://issuer.example", ["model-serving"], [{"kty": "RSA", "n": "a"}])


def test_issuers_are_handed_on_with_the_principal_of_the_namespaces_front_door() -> None:
    policy = build_policy(endpoint(), 1, "public", issuers=[ISSUER])
    assert (policy.issuers, policy.router) == ([ISSUER], "system:serviceaccount:gen-ai:model-serving-workspace")
    assert msgspec.json.decode(msgspec.json.encode(policy), type=Policy) == policy
    assert build_policy(endpoint(), 1, "public").router == "", "without issuers nobody can show that it is the router"
