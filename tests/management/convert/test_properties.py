"""Any valid body comes back as it was sent; any JSON at all is either taken or refused in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_serving.api.external_model import BLOCKS, ExternalModel, Provider, Task
from model_serving.management.convert.draft import draft_config, draft_create
from model_serving.management.convert.fields import Field, Kind, fields_of
from model_serving.management.convert.policy import ai_gateway_of, notifications_of, rate_limits_of, tags_patched
from model_serving.management.convert.problems import InvalidBody
from model_serving.management.convert.rest import endpoint_body
from tests.management.convert.bodies import CREATE, FOUNDATION, GATEWAY, PROVIDERS
from tests.management.convert.factory import created

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
OUTPUT_ONLY = ("type", "state", "creator", "creation_timestamp")
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=20)
WORD = PRINTABLE.filter(lambda text: text.strip(" ") == text and text)
NAME = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,60}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda name: not name.startswith("databricks-")
)
REFERENCE = st.from_regex(
    re.compile(r"\{\{secrets/[-._@A-Za-z0-9]{1,128}/[-_A-Za-z0-9][-._A-Za-z0-9]{0,20}\}\}", re.ASCII), fullmatch=True
)
LIMIT = st.fixed_dictionaries(
    {"calls": st.integers(0, 10**9), "renewal_period": st.just("minute")},
    optional={"tokens": st.integers(0, 10**9), "key": st.sampled_from(["user", "endpoint"])},
)
TAGS = st.lists(
    st.fixed_dictionaries({"key": WORD}, optional={"value": PRINTABLE}), max_size=5, unique_by=lambda tag: tag["key"]
)


def with_other_secrets(draw: Callable[[Any], Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """The block with drawn references in the place of its own."""
    made: dict[str, Any] = {}
    for name, value in block.items():
        if isinstance(value, dict):
            made[name] = with_other_secrets(draw, value)
        else:
            made[name] = draw(REFERENCE) if str(value).startswith("{{secrets/") else value
    return made


@st.composite
def external_models(draw: Callable[[Any], Any]) -> dict[str, Any]:
    model = with_other_secrets(draw, draw(st.sampled_from(list(PROVIDERS.values()))))
    task = (
        Task.COMPLETIONS if model["provider"] == Provider.AI21LABS else draw(st.sampled_from(["chat", "completions"]))
    )
    return model | {"name": draw(WORD), "task": task if isinstance(task, Task) else f"llm/v1/{task}"}


@st.composite
def bodies(draw: Callable[[Any], Any]) -> dict[str, Any]:
    name = draw(NAME)
    config: dict[str, Any] = {"served_entities": [{"name": name, "external_model": draw(external_models())}]}
    if draw(st.booleans()):
        route = {"served_entity_name": name, "served_model_name": name, "traffic_percentage": 100}
        config["traffic_config"] = {"routes": [route]}
    optional = {
        "tags": TAGS,
        "rate_limits": st.lists(LIMIT, max_size=3),
        "description": PRINTABLE,
        "budget_policy_id": WORD,
        "route_optimized": st.just(False),
        "ai_gateway": st.fixed_dictionaries(
            {"usage_tracking_config": st.fixed_dictionaries({"enabled": st.booleans()})},
            optional={"rate_limits": st.lists(LIMIT, max_size=3)},
        ),
        "email_notifications": st.fixed_dictionaries(
            {}, optional={"on_update_success": st.lists(PRINTABLE, max_size=2)}
        ),
    }
    return draw(st.fixed_dictionaries({"name": NAME, "config": st.just(config)}, optional=optional))


@FEW
@given(bodies())
def test_a_valid_body_comes_back_as_it_was_sent(body: dict[str, Any]) -> None:
    answer = endpoint_body(created(body), "CAN_MANAGE")
    config = answer["pending_config"]
    entities = [{k: v for k, v in each.items() if k not in OUTPUT_ONLY} for each in config["served_entities"]]
    assert entities == body["config"]["served_entities"]
    if "traffic_config" in body["config"]:
        assert config["traffic_config"] == body["config"]["traffic_config"]
    for name in set(body) - {"config", "rate_limits"}:
        assert answer[name] == body[name]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted(
    {"name", "config", "tags", "rate_limits", "ai_gateway", "served_models", "add_tags", "delete_tags"}
    | set(CREATE["config"])
)


@st.composite
def damaged(draw: Callable[[Any], Any], whole: Any) -> Any:
    """A valid body of which one part, however deep, is something else."""
    if isinstance(whole, dict) and whole and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(whole)))
        return {**whole, name: draw(damaged(whole[name]))}
    if isinstance(whole, list) and whole and draw(st.integers(0, 5)):
        i = draw(st.integers(0, len(whole) - 1))
        return [*whole[:i], draw(damaged(whole[i])), *whole[i + 1 :]]
    return draw(JSON)


def attempt(read: Callable[[], object]) -> None:
    try:
        read()
    except InvalidBody as error:
        assert error.message.isprintable() and 0 < len(error.message) < 2100


WHOLE = CREATE | {"ai_gateway": GATEWAY, "email_notifications": {"on_update_success": ["a"]}, "description": "x"}
OBJECTS = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), JSON, max_size=4)
SPEC = created(CREATE).endpoint.spec


@FEW
@given(st.one_of(OBJECTS, damaged(WHOLE), damaged(FOUNDATION)).filter(lambda body: isinstance(body, dict)))
def test_any_json_is_taken_or_refused_in_words(body: dict[str, Any]) -> None:
    attempt(lambda: draft_create(body))
    attempt(lambda: draft_config(body, SPEC))
    attempt(lambda: draft_config(body["config"], SPEC) if isinstance(body.get("config"), dict) else None)
    for read in (rate_limits_of, ai_gateway_of, notifications_of):
        attempt(lambda read=read: read(body))
    attempt(lambda: ai_gateway_of(body["ai_gateway"]) if isinstance(body.get("ai_gateway"), dict) else None)
    attempt(lambda: tags_patched(body | {"add_tags": body.get("tags")}, SPEC))


def secrets_of(fields: Mapping[str, Field]) -> int:
    nested = [secrets_of(fields_of(field.model)) for field in fields.values() if field.model]
    return sum(field.kind is Kind.SECRET for field in fields.values()) + sum(nested)


@pytest.mark.parametrize("provider", Provider)
def test_the_bodies_above_hold_every_field_of_a_provider(provider: Provider) -> None:
    refused = {"instance_profile_arn", "uc_service_credential_name"}
    left_out = {"workload_identity"}
    model = fields_of(ExternalModel)[BLOCKS[provider]].model
    assert model is not None
    sent = {name for each in PROVIDERS.values() for name in each.get(BLOCKS[provider], {})}
    assert set(fields_of(model)) - refused - left_out <= sent
    assert secrets_of(fields_of(model)) > 0
