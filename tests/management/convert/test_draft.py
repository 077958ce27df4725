"""Bodies that are taken, and what they become; bodies that are refused, and the words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from model_serving.api.names import kept_keys_name
from model_serving.management.convert.draft import Plaintext, SecretUse, draft_config, draft_create, filled
from model_serving.management.convert.problems import InvalidBody
from model_serving.management.convert.rest import endpoint_body
from tests.management.convert.bodies import (
    CREATE,
    FOUNDATION,
    GATEWAY,
    INERT,
    OPENAI_CHAT,
    PROVIDERS,
    UPDATE,
    create,
    external,
)
from tests.management.convert.factory import created, served, updated

ENTITY = "config.served_entities[0]"
MODEL = f"{ENTITY}.external_model"
KEY = "sk-this-is-a-real-key"


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """The create body as GET shows it, states and the like left out."""
    answer = endpoint_body(created(body), "CAN_MANAGE")
    config = answer["pending_config"]
    entities = [
        {name: each[name] for name in each if name not in ("type", "state", "creator", "creation_timestamp")}
        for each in config["served_entities"]
    ]
    return answer | {"config": {"served_entities": entities, "traffic_config": config["traffic_config"]}}


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_comes_back_as_it_was_sent(name: str) -> None:
    body = create(PROVIDERS[name])
    assert shown(body)["config"]["served_entities"] == body["config"]["served_entities"]


def test_fields_without_a_meaning_here_come_back_as_they_were_sent() -> None:
    answer = shown(create(OPENAI_CHAT, ai_gateway=GATEWAY, **INERT))
    assert {name: answer[name] for name in INERT} == INERT
    assert answer["ai_gateway"] == GATEWAY


def test_legacy_limits_are_kept_and_never_shown() -> None:
    stored = created(CREATE)
    assert stored.endpoint.spec.written()["rateLimits"] == [{"calls": 100, "key": "user", "renewalPeriod": "minute"}]
    answer = endpoint_body(stored, "CAN_MANAGE")
    assert "rate_limits" not in answer and "ai_gateway" not in answer


def test_a_gateway_that_says_nothing_is_never_shown() -> None:
    assert "ai_gateway" not in shown(create(OPENAI_CHAT, ai_gateway={}))


def config(model: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"name": "chat", "config": {"served_entities": [{"external_model": model or OPENAI_CHAT}], **fields}}


def entity(**fields: Any) -> dict[str, Any]:
    return {"name": "chat", "config": {"served_entities": [{"name": "main", "external_model": OPENAI_CHAT, **fields}]}}


def routes(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"routes": list(listed)}


MAIN = {"served_entity_name": "gpt-4", "served_model_name": "gpt-4", "traffic_percentage": 100}
SAME_AS_PLAIN = [
    pytest.param(config(traffic_config=routes(MAIN)), id="both names of a route"),
    pytest.param(
        config(traffic_config=routes({"served_model_name": "gpt-4", "traffic_percentage": 100})), id="old name"
    ),
    pytest.param(
        config(traffic_config=routes({"served_entity_name": "gpt-4", "traffic_percentage": "100"})),
        id="text for number",
    ),
    pytest.param(config(traffic_config={}), id="empty traffic"),
    pytest.param(config(traffic_config=None, auto_capture_config=None), id="null is absent"),
    pytest.param(
        config(name="chat", route_optimized=True, rate_limits=[{}], tags=3, ai_gateway={"x": 1}, served_models=None),
        id="misplaced fields in config",
    ),
    pytest.param(config() | {"usage_policy_id": "x", "telemetry_config": {"a": 1}}, id="unknown fields beside config"),
    pytest.param(
        config(OPENAI_CHAT | {"openai_config": OPENAI_CHAT["openai_config"] | {"openai_api_base": ""}}), id="''"
    ),
    pytest.param(
        {
            "name": "chat",
            "config": {
                "served_entities": [
                    {
                        "name": "",
                        "external_model": OPENAI_CHAT,
                        "workload_size": "",
                        "workload_type": "CPU",
                        "scale_to_zero_enabled": False,
                        "environment_vars": {},
                        "entity_name": "",
                    }
                ]
            },
        },
        id="what Databricks shows of external models",
    ),
]


@pytest.mark.parametrize("body", SAME_AS_PLAIN)
def test_bodies_that_mean_the_same(body: dict[str, Any]) -> None:
    assert shown(body)["config"] == shown(config())["config"]


def test_what_get_showed_can_be_sent_again() -> None:
    stored = served(created(create(OPENAI_CHAT, **INERT)))
    answer = endpoint_body(stored, "CAN_MANAGE")
    again = updated(stored, answer["config"]).endpoint.spec
    assert again.config.served_entities == stored.endpoint.spec.config.served_entities
    assert shown(answer)["config"] == shown(create(OPENAI_CHAT))["config"]


NAMES = [
    ("gpt-4", "gpt-4"),
    ("claude-3.5:latest", "claude-3-5-latest"),
    ("ft:gpt/x y", "ft-gpt-x-y"),
    (".hidden.", "hidden"),
    ("é", "entity"),
    ("m" * 80, "m" * 63),
]


@pytest.mark.parametrize(("model", "name"), NAMES)
def test_an_entity_without_a_name_is_called_like_its_model(model: str, name: str) -> None:
    (route,) = shown(config(OPENAI_CHAT | {"name": model}))["config"]["traffic_config"]["routes"]
    assert route["served_entity_name"] == name


def test_foundation_models_take_both_lists() -> None:
    old = copy.deepcopy(FOUNDATION)
    old["config"]["served_models"] = [
        {{"entity_name": "model_name", "entity_version": "model_version"}.get(k, k): v for k, v in each.items()}
        for each in old["config"].pop("served_entities")
    ]
    assert shown(old)["config"] == shown(FOUNDATION)["config"]
    assert shown(FOUNDATION)["config"]["served_entities"][0]["environment_vars"] == {
        "LEVEL": "debug",
        "EMPTY": "",
        "TOKEN": "{{secrets/s/k}}",
    }


def test_secrets_are_listed_with_their_paths() -> None:
    draft = draft_create(CREATE)
    path = f"{MODEL}.openai_config.openai_api_key"
    assert draft.name == "openai_endpoint"
    assert draft.secrets == (SecretUse(path, "my_scope", "my_openai_api_key"),)
    ref = {"name": "my-scope", "key": "k", "scope": "my_scope"}
    (found,) = filled(draft, {path: ref})["config"]["servedEntities"]
    assert found["externalModel"]["openaiConfig"] == {"openaiApiKeySecretRef": ref}


PLAINTEXT = [
    ("openai", {"openai_api_key_plaintext": KEY}, "openai_config.openai_api_key", {}),
    (
        "custom",
        {"custom_provider_url": "https://llm.example.com/v1", "bearer_token_auth": {"token_plaintext": KEY}},
        "custom_provider_config.bearer_token_auth.token",
        {"custom_provider_url": "https://llm.example.com/v1", "bearer_token_auth": {}},
    ),
    (
        "custom",
        {
            "custom_provider_url": "https://llm.example.com/v1",
            "api_key_auth": {"key": "X-Key", "value": "", "value_plaintext": KEY},
        },
        "custom_provider_config.api_key_auth.value",
        {"custom_provider_url": "https://llm.example.com/v1", "api_key_auth": {"key": "X-Key"}},
    ),
]


@pytest.mark.parametrize(("provider", "block", "path", "left"), PLAINTEXT)
def test_a_key_in_plain_text_is_taken_and_never_shown(
    provider: str, block: dict[str, Any], path: str, left: dict[str, Any]
) -> None:
    body = create(external(provider, block))
    draft = draft_create(body)
    assert draft.secrets == (Plaintext(f"{MODEL}.{path}", KEY),)
    assert KEY not in repr(draft)
    answer = shown(body)
    assert KEY not in str(answer) and kept_keys_name("chat") not in str(answer)
    model = answer["config"]["served_entities"][0]["external_model"]
    assert model[path.partition(".")[0]] == left


def renamed(name: str, *listed: dict[str, Any]) -> dict[str, Any]:
    fields = {"traffic_config": routes(*listed)} if listed else {}
    return {"served_entities": [{"name": name, "external_model": OPENAI_CHAT}], **fields}


OLD_ROUTE = {"served_entity_name": "main", "served_model_name": "main", "traffic_percentage": 100}


@pytest.mark.parametrize("listed", [(), (OLD_ROUTE,)], ids=["no routes", "the routes that GET had shown"])
def test_the_only_entity_may_be_renamed(listed: tuple[dict[str, Any], ...]) -> None:
    stored = served(created(create(OPENAI_CHAT)))
    spec = updated(stored, renamed("other", *listed)).endpoint.spec
    assert [(route.served_entity_name, route.traffic_percentage) for route in spec.config.routes] == [("other", 100)]


def test_an_unknown_route_is_no_renaming() -> None:
    stored = served(created(create(OPENAI_CHAT)))
    for route in (
        OLD_ROUTE | {"served_entity_name": "x", "served_model_name": "x"},
        OLD_ROUTE | {"traffic_percentage": 1},
    ):
        with pytest.raises(
            InvalidBody, match=r"routes\[0\].served_entity_name: names unknown entity .*; entities: other"
        ):
            draft_config(renamed("other", route), stored.endpoint.spec)


def test_an_update_replaces_the_config_and_nothing_else() -> None:
    stored = created(
        CREATE | {"ai_gateway": GATEWAY, "config": config(auto_capture_config={"enabled": False})["config"]}
    )
    before, after = stored.endpoint.spec.written(), updated(stored, UPDATE).endpoint.spec.written()
    assert "autoCaptureConfig" in before["config"] and "autoCaptureConfig" not in after["config"]
    assert {k: v for k, v in after.items() if k != "config"} == {k: v for k, v in before.items() if k != "config"}
    (after_entity,) = after["config"]["servedEntities"]
    assert after_entity["name"] == "openai_chat"


BLOCK = f"{MODEL}.openai_config"
AZURE = {"openai_api_key": "{{secrets/a/b}}", "openai_api_type": "azure"}
BEDROCK = {"aws_region": "eu-central-1", "bedrock_provider": "amazon"}


def openai(**block: Any) -> dict[str, Any]:
    return create(external("openai", block))


REFUSED = [
    ({}, "name: is required"),
    ({"name": "x"}, "config: is required: give it served_entities"),
    ({"name": "x", "config": {}}, "config.served_entities: is required"),
    ({"name": "x", "config": {"traffic_config": routes(MAIN)}}, "config.served_entities: is required"),
    ({"name": "x", "config": []}, "config: must be an object"),
    ({"name": "x", "config": {"served_entities": {}}}, "config.served_entities: must be a list"),
    ({"name": "x", "config": {"served_entities": []}}, "config.served_entities: must have at least 1 item: add one"),
    ({"name": "x", "config": {"served_entities": [3]}}, f"{ENTITY}: must be an object"),
    ({"name": "x", "config": {"served_entities": [{}]}}, f"{ENTITY}: set exactly one of external_model"),
    (config() | {"name": 5}, "name: must be a string"),
    (config() | {"name": "-x"}, "name: use only letters, digits, - and _"),
    (config() | {"name": "x" * 64}, "name: must have at most 63 characters"),
    (config() | {"name": "databricks-x"}, "name: names that start with databricks- are reserved"),
    (config() | {"route_optimized": True}, "route_optimized: this has no meaning here: remove it"),
    (config() | {"description": 5}, "description: must be a string"),
    (config() | {"tags": [{"value": "x"}]}, "tags[0].key: is required"),
    (config() | {"tags": [{"key": "x"}, {"key": "x"}]}, "tags: Duplicate value: key x"),
    (config() | {"rate_limits": [{"calls": "x"}]}, "rate_limits[0].calls: must be an intege"),
    (config() | {"rate_limits": [{}]}, "rate_limits[0]: a rate limit needs calls or tokens"),
    (config() | {"rate_limits": [{"calls": 1, "renewal_period": "hou"}]}, "renewal_period: must be one of 'minute'"),
    (config() | {"rate_limits": [{"call": 1}]}, "rate_limits[0].call: unknown field: did you mean calls?"),
    (config() | {"ai_gateway": {"guardrails": {"input": {"safety": True}}}}, "ai_gateway.guardrails.input: …remove"),
    (config() | {"ai_gateway": {"fallback_config": {"enabled": True}}}, "ai_gateway.fallback_config: …set enabled to"),
    (
        config() | {"ai_gateway": {"inference_table_config": {"enabled": True}}},
        "inference_table_config is not enforced",
    ),
    (config(auto_capture_config={"enabled": True}), "config.auto_capture_config: auto_capture_config is not enforced"),
    (
        config(traffic_config=routes(MAIN | {"traffic_percentage": 90})),
        "traffic_percentage values must sum to 100, got",
    ),
    (
        config(traffic_config=routes(MAIN | {"traffic_percentage": "x"})),
        "routes[0].traffic_percentage: must be an in",
    ),
    (
        config(traffic_config=routes(MAIN | {"served_model_name": "x"})),
        "served_entity_name and served_model_name diffe",
    ),
    (config(traffic_config=3), "config.traffic_config: must be an object"),
    (config(traffic_config={"routes": 3}), "config.traffic_config.routes: must be a list"),
    (entity(entity_name="a.b.c"), f"{ENTITY}: set exactly one of external_model"),
    (entity(workload_size="Small"), "takes no entity_version, workload, concurrency, throughput or environment"),
    (entity(instance_profile_arn="arn"), "instance_profile_arn: instance_profile_arn has no meaning in Kubernetes"),
    (entity(external_modle={}), f"{ENTITY}.external_modle: unknown field: did you mean external_model?"),
    (entity(external_model=OPENAI_CHAT | {"provider": "openia"}), f"{MODEL}.provider: must be one of 'openai'"),
    (entity(external_model=OPENAI_CHAT | {"task": "chat"}), f"{MODEL}.task: must be one of 'llm/v1/chat'"),
    (entity(external_model=OPENAI_CHAT | {"provider": "cohere"}), f"{MODEL}.provider: provider cohere needs its own"),
    (entity(external_model={"name": "x", "provider": "openai", "task": "llm/v1/chat"}), "exactly one provider config"),
    (entity(external_model=OPENAI_CHAT | {"openai_confg": {}}), "unknown field: did you mean openai_config"),
    (entity(external_model=OPENAI_CHAT | {"name": 4}), f"{MODEL}.name: must be a string"),
    (openai(), f"{BLOCK}: openai_api_key is required: …secrets/SCOPE/KEY…_plaintext"),
    (openai(openai_api_key=3), f"{BLOCK}.openai_api_key: must be a string"),
    (openai(openai_api_key_plaintext={}), f"{BLOCK}.openai_api_key_plaintext: must be a string"),
    (openai(openaiApiKey="x"), f"{BLOCK}.openaiApiKey: unknown field: did you mean openai_api_key"),
    (
        openai(**AZURE),
        "openai_api_type azure and azuread need openai_api_base, openai_api_version and openai_deployment",
    ),
    (openai(openai_api_key="{{secrets/a/b}}", openai_api_key_plaintext=KEY), "either openai_api_key or …not both"),
    (
        create(external("anthropic", {})),
        "anthropic_config.anthropic_api_key: is required: …or the key itself in anthro",
    ),
    (
        create(external("amazon-bedrock", BEDROCK | {"instance_profile_arn": "arn"})),
        "instance_profile_arn has no meaning in Kubernetes: remove it and use workload_identity with proxy.service",
    ),
    (
        create(external("amazon-bedrock", BEDROCK | {"uc_service_credential_name": "x"})),
        "uc_service_credential_name has no meaning in Kubernetes",
    ),
    (create(external("custom", {"custom_provider_url": "nowhere"})), "custom_provider_config.custom_provider_url: "),
    (FOUNDATION | {"telemetry_config": {"a": 1}}, "telemetry_config: is not enforced here: remove it"),
    (config() | {"description": "\ud800"}, "not Unicode"),
    (config() | {"x": float("nan")}, "a number that is none"),
]


@pytest.mark.parametrize(("body", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_wrong_is_refused_by_its_field(body: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        draft_create(body)
    assert all(part in caught.value.message for part in words.split("…")), caught.value.message
    assert "SecretRef" not in caught.value.message and "servedEntit" not in caught.value.message


NO_REFERENCES = [
    KEY,
    "{{secrets/scope}}",
    "{{secrets/scope/}}",
    "{{secrets//key}}",
    "{{secrets/scope/key/more}}",
    "{{ secrets/scope/key }}",
    "{secrets/scope/key}",
    "x {{secrets/scope/key}}",
    "{{secrets/scope/key}}\n",
    "{{secrets/sc ope/key}}",
    "{{secrets/scope/" + "k" * 254 + "}}",
]


@pytest.mark.parametrize("text", NO_REFERENCES)
def test_a_secret_is_a_whole_reference_and_nothing_of_it_is_quoted(text: str) -> None:
    with pytest.raises(InvalidBody, match=r"write \{\{secrets/SCOPE/KEY\}\}.*openai_api_key_plaintext") as caught:
        draft_create(openai(openai_api_key=text))
    assert text not in caught.value.message


ENVIRONMENTS = [
    ({"A B": "x"}, "environment_vars.A B: use only letters"),
    ({"N:": "x"}, r"environment_vars.N\?: use only letters"),
    ({"A": 3}, "environment_vars.A: must be a string"),
    ({"A": "x" * 1025}, "environment_vars.A: must have at most 1024"),
    ({"A": "{{secrets/a"}, "environment_vars.A: is not a well-formed reference"),
    ({str(i): "x" for i in range(3)}, "environment_vars.0: use only letters"),
    ({f"V{i}": "x" for i in range(31)}, "environment_vars: must have at most 30 items"),
    ([], "environment_vars: must be an object"),
]


@pytest.mark.parametrize(("variables", "words"), ENVIRONMENTS, ids=[words for _, words in ENVIRONMENTS])
def test_variables_are_refused_by_their_name(variables: Any, words: str) -> None:
    body = {"name": "x", "config": {"served_entities": [{"entity_name": "a.b", "environment_vars": variables}]}}
    with pytest.raises(InvalidBody, match=words):
        draft_create(body)


def test_a_message_stays_short_and_printable() -> None:
    tags = [{"key": 1, "value": 2} for _ in range(50)]
    with pytest.raises(InvalidBody, match=r"and \d+ more$") as caught:
        draft_create(config() | {"tags": tags})
    assert len(caught.value.message) <= 2050
    with pytest.raises(InvalidBody) as caught:
        draft_create(openai(**{"a\n\x1b" + "b" * 5000: "x"}))
    assert caught.value.message.isprintable() and len(caught.value.message) < 300
