"""Limits, gateway, tags and notifications: their own part of the spec alone, at any time, without a version."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.article import CREATE, UPDATE
from tests.management.memory import World
from tests.management.rest import NAME, good, refused

LIMITS = [{"key": "user", "renewal_period": "minute", "calls": 10}]


async def test_the_articles_rate_limits_are_answered_and_shown_nowhere_else(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    assert good(await rest.put(endpoint + "/rate-limits", json={"rate_limits": LIMITS})) == {"rate_limits": LIMITS}
    shown = good(await rest.get(endpoint))
    assert "rate_limits" not in shown and "ai_gateway" not in shown
    assert [limit.calls for limit in shop.endpoint(NAME).spec.rate_limits or []] == [10]


async def test_no_limits_take_all_away(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    assert good(await rest.put(endpoint + "/rate-limits", json={"rate_limits": []})) == {"rate_limits": []}
    assert shop.endpoint(NAME).spec.rate_limits is None


async def test_the_gateway_is_replaced_as_a_whole(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    first = {"usage_tracking_config": {"enabled": True}, "rate_limits": [{"calls": 5, "renewal_period": "minute"}]}
    answered = good(await rest.put(endpoint + "/ai-gateway", json=first))
    assert answered["usage_tracking_config"] == {"enabled": True} and answered["rate_limits"][0]["calls"] == 5
    assert good(await rest.get(endpoint))["ai_gateway"] == answered
    second = {"fallback_config": {"enabled": False}}
    assert good(await rest.put(endpoint + "/ai-gateway", json=second)) == second
    assert good(await rest.get(endpoint))["ai_gateway"] == second
    assert good(await rest.put(endpoint + "/ai-gateway", json={})) == {}
    assert "ai_gateway" not in good(await rest.get(endpoint)), "an empty block would be drift"
    assert [limit.calls for limit in shop.endpoint(NAME).spec.rate_limits or []] == [100], "not this route's part"


async def test_tags_are_added_changed_and_removed(rest: httpx.AsyncClient, endpoint: str) -> None:
    body: dict[str, Any] = {"add_tags": [{"key": "a", "value": "1"}, {"key": "b"}], "delete_tags": ["team", "unknown"]}
    answered = good(await rest.patch(endpoint + "/tags", json=body))
    assert [tag["key"] for tag in answered["tags"]] == ["a", "b"]
    assert good(await rest.get(endpoint))["tags"] == answered["tags"]
    assert good(await rest.patch(endpoint + "/tags", json={"delete_tags": ["a", "b"]})) == {"tags": []}


async def test_notifications_are_kept_and_shown(rest: httpx.AsyncClient, endpoint: str) -> None:
    addresses = {"on_update_success": ["a@example.com"], "on_update_failure": ["b@example.com"]}
    answered = good(await rest.patch(endpoint + "/notifications", json={"email_notifications": addresses}))
    assert answered == {"name": NAME, "email_notifications": addresses}
    assert good(await rest.get(endpoint))["email_notifications"] == addresses


async def test_what_is_inert_stays_as_it_was_sent(rest: httpx.AsyncClient, shop: World) -> None:
    inert = {"description": "", "route_optimized": False, "budget_policy_id": "b-1"}
    good(await rest.post("/api/2.0/serving-endpoints", json=CREATE | inert))
    path = f"/api/2.0/serving-endpoints/{NAME}"
    good(await rest.put(path + "/rate-limits", json={"rate_limits": LIMITS}))
    shown = good(await rest.get(path))
    assert {name: shown[name] for name in inert} == inert
    assert shop.endpoint(NAME).spec.written()["description"] == ""


async def test_policies_change_while_an_update_runs_and_make_no_version(
    rest: httpx.AsyncClient, shop: World, endpoint: str
) -> None:
    shop.steps = 0
    good(await rest.put(endpoint + "/config", json=UPDATE))
    shop.look(NAME)
    good(await rest.put(endpoint + "/rate-limits", json={"rate_limits": LIMITS}))
    good(await rest.put(endpoint + "/ai-gateway", json={"usage_tracking_config": {"enabled": True}}))
    good(await rest.patch(endpoint + "/tags", json={"add_tags": [{"key": "a"}]}))
    good(await rest.patch(endpoint + "/notifications", json={"email_notifications": {}}))
    shop.serve(NAME)
    assert good(await rest.get(endpoint))["config"]["config_version"] == 2


async def test_a_policy_alone_is_no_update(rest: httpx.AsyncClient, shop: World, endpoint: str) -> None:
    shop.steps = 0
    good(await rest.patch(endpoint + "/tags", json={"add_tags": [{"key": "a"}]}))
    shown = good(await rest.get(endpoint))
    assert shown["state"]["config_update"] == "NOT_UPDATING" and "pending_config" not in shown


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "a limit without a number": ("PUT", "/rate-limits", {"rate_limits": [{"key": "user"}]}, "rate_limits[0]"),
    "a limit below nothing": ("PUT", "/rate-limits", {"rate_limits": [{"calls": -1}]}, "calls"),
    "limits that are no list": ("PUT", "/rate-limits", {"rate_limits": {}}, "rate_limits"),
    "guardrails, which are not enforced": (
        "PUT",
        "/ai-gateway",
        {"guardrails": {"input": {"safety": True}}},
        "guardrails",
    ),
    "fallback, which is not enforced": (
        "PUT",
        "/ai-gateway",
        {"fallback_config": {"enabled": True}},
        "fallback_config",
    ),
    "a tag twice, told in one line": (
        "PATCH",
        "/tags",
        {"add_tags": [{"key": "a\nb"}, {"key": "a\nb"}]},
        "a?b",
    ),
    "a tag without key": ("PATCH", "/tags", {"add_tags": [{"value": "x"}]}, "add_tags[0]"),
    "tags that are no list": ("PATCH", "/tags", {"add_tags": "a"}, "add_tags"),
    "addresses that are no list": (
        "PATCH",
        "/notifications",
        {"email_notifications": {"on_update_success": "a"}},
        "on_update_success",
    ),
    "telemetry of an external model": ("PATCH", "/telemetry-config", {"telemetry_config": {}}, "telemetry_config"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_names_the_field_and_changes_nothing(
    rest: httpx.AsyncClient, shop: World, endpoint: str, case: str
) -> None:
    method, tail, body, word = REFUSED[case]
    before = shop.endpoint(NAME).spec
    refused(await rest.request(method, endpoint + tail, json=body), 400, word)
    assert shop.endpoint(NAME).spec == before
