"""Bodies of the routes for limits, gateway, tags and notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from model_serving.management.convert.policy import ai_gateway_of, notifications_of, rate_limits_of, tags_patched
from model_serving.management.convert.problems import InvalidBody
from model_serving.management.convert.rest import (
    ai_gateway_body,
    endpoint_body,
    notifications_body,
    rate_limits_body,
    tags_body,
)
from model_serving.stores import Stored
from tests.management.convert.bodies import CREATE, GATEWAY, OPENAI_CHAT, RATE_LIMITS, create
from tests.management.convert.factory import created, respecified


def with_part(name: str, part: Any) -> Stored:
    stored = created(create(OPENAI_CHAT))
    return respecified(stored, {**stored.endpoint.spec.written(), name: part})


def test_limits_alone_as_in_the_reference() -> None:
    stored = with_part("rateLimits", rate_limits_of(RATE_LIMITS))
    assert rate_limits_body(stored.endpoint.spec) == RATE_LIMITS
    assert "rate_limits" not in endpoint_body(stored, "CAN_MANAGE")


@pytest.mark.parametrize("body", [{}, {"rate_limits": []}, {"rate_limits": None}, {"name": "chat"}])
def test_no_limits_clear(body: dict[str, Any]) -> None:
    assert rate_limits_of(body) == []


def test_a_limit_comes_back_without_the_defaults_that_were_not_sent() -> None:
    sent = {"rate_limits": [{"calls": 5, "renewal_period": "minute"}]}
    assert rate_limits_body(with_part("rateLimits", rate_limits_of(sent)).endpoint.spec) == sent


def test_the_gateway_is_replaced_as_a_whole_and_echoed() -> None:
    assert ai_gateway_body(with_part("aiGateway", ai_gateway_of(GATEWAY)).endpoint.spec) == GATEWAY
    assert ai_gateway_of({}) == {} and ai_gateway_body(created(create(OPENAI_CHAT)).endpoint.spec) == {}


def test_a_switch_of_the_gateway_shows_that_it_is_off() -> None:
    stored = with_part("aiGateway", ai_gateway_of({"inference_table_config": {"catalog_name": "main"}}))
    shown = {"inference_table_config": {"enabled": False, "catalog_name": "main"}}
    assert ai_gateway_body(stored.endpoint.spec) == shown


TAGS = [
    pytest.param({}, [("team", "gen-ai")], id="nothing"),
    pytest.param({"add_tags": [{"key": "a", "value": "b"}]}, [("team", "gen-ai"), ("a", "b")], id="added"),
    pytest.param({"add_tags": [{"key": "team", "value": "x"}]}, [("team", "x")], id="changed"),
    pytest.param({"add_tags": [{"key": "bare"}]}, [("team", "gen-ai"), ("bare", None)], id="without a value"),
    pytest.param({"add_tags": [{"key": "a", "value": ""}]}, [("team", "gen-ai"), ("a", "")], id="empty value kept"),
    pytest.param({"delete_tags": ["team", "unknown"]}, [], id="deleted"),
    pytest.param(
        {"delete_tags": ["team"], "add_tags": [{"key": "team", "value": "y"}]}, [("team", "y")], id="deleted and added"
    ),
]


@pytest.mark.parametrize(("body", "left"), TAGS)
def test_tags(body: dict[str, Any], left: list[tuple[str, str | None]]) -> None:
    patched = tags_patched(body, created(CREATE).endpoint.spec)
    shown = tags_body(with_part("tags", patched).endpoint.spec)
    assert [(tag["key"], tag.get("value")) for tag in shown["tags"]] == left


def test_notifications_are_kept_and_shown() -> None:
    sent = {"email_notifications": {"on_update_success": ["a@example.com"], "on_update_failure": []}}
    stored = with_part("emailNotifications", notifications_of(sent))
    assert notifications_body(stored) == {"name": "chat", **sent}
    assert notifications_of({}) == {}


def patch_tags(body: dict[str, Any]) -> Any:
    return tags_patched(body, created(CREATE).endpoint.spec)


REFUSED: list[tuple[Callable[[dict[str, Any]], Any], dict[str, Any], str]] = [
    (rate_limits_of, {"rate_limit": []}, "rate_limit: unknown field: the body needs rate_limits"),
    (patch_tags, {"name": "chat", "tags": {"a": "b"}}, "tags: unknown field: the body needs add_tags or delete_tags"),
    (notifications_of, {"on_update_failure": []}, "on_update_failure: unknown field: the body needs email_notif"),
    (rate_limits_of, {"rate_limits": 3}, "rate_limits: must be a list"),
    (rate_limits_of, {"rate_limits": [{"calls": -1}]}, "rate_limits[0].calls: must be 0 or more"),
    (
        rate_limits_of,
        {"rate_limits": [{"calls": 1, "key": "user_group"}]},
        "rate_limits[0].principal: principal is req",
    ),
    (ai_gateway_of, {"guardrail": {}}, "ai_gateway.guardrail: unknown field: did you mean guardrails?"),
    (ai_gateway_of, {"guardrails": {"output": {"pii": {"behavior": "MASK"}}}}, "ai_gateway.guardrails.output: "),
    (
        ai_gateway_of,
        {"fallback_config": {"enabled": "yes"}},
        "ai_gateway.fallback_config.enabled: must be true or false",
    ),
    (patch_tags, {"add_tags": [{"value": "x"}]}, "add_tags[0].key: is required"),
    (patch_tags, {"add_tags": {"a": "b"}}, "add_tags: must be a list"),
    (patch_tags, {"delete_tags": [{"key": "a"}]}, "delete_tags: must be a list of keys"),
    (patch_tags, {"add_tags": [{"key": str(i)} for i in range(50)]}, "tags: must have at most 50 items"),
    (notifications_of, {"email_notifications": {"on_success": []}}, "email_notifications.on_success: unknown field"),
    (notifications_of, {"email_notifications": {"on_update_success": "x"}}, "on_update_success: must be a list"),
]


@pytest.mark.parametrize("row", REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_wrong_is_refused_by_its_field(
    row: tuple[Callable[[dict[str, Any]], Any], dict[str, Any], str],
) -> None:
    read, body, words = row
    with pytest.raises(InvalidBody) as caught:
        read(body)
    assert words in caught.value.message, caught.value.message
