"""REST bodies of the routes for limits, gateway, tags and notifications, as new parts of the spec's manifest. Pure.

All raise `InvalidBody`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_serving.api.endpoint import EndpointSpec
from model_serving.api.policy import AiGateway, EmailNotifications, RateLimit, Tag
from model_serving.management.convert.draft import judge
from model_serving.management.convert.problems import InvalidBody, refuse_others_alone
from model_serving.management.convert.reading import Reading, read_list, read_mapping, sound

_SOME_CONFIG = {"servedEntities": [{"name": "some", "entityName": "some.model"}]}
"""Stands in for the config, which these routes leave as it is, when the rules are applied to the rest."""


def rate_limits_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`spec.rateLimits` for PUT …/rate-limits; empty: none."""
    limits = Reading().read_all(RateLimit, _given(body, "rate_limits").get("rate_limits", []), "rate_limits")
    _judge(rateLimits=limits)
    return limits


def ai_gateway_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """`spec.aiGateway` for PUT …/ai-gateway, which replaces the whole block; empty: leave it out."""
    gateway = Reading().read(AiGateway, sound(body), "ai_gateway")
    _judge(aiGateway=gateway)
    return gateway


def tags_patched(body: Mapping[str, Any], current: EndpointSpec) -> list[dict[str, Any]]:
    """`spec.tags` after PATCH …/tags: `delete_tags` are taken out first, then `add_tags` added or changed."""
    given = _given(body, "add_tags", "delete_tags")
    added = Reading().read_all(Tag, given.get("add_tags", []), "add_tags")
    deleted = read_list(given.get("delete_tags", []), "delete_tags")
    if not all(isinstance(key, str) for key in deleted):
        raise InvalidBody("delete_tags: must be a list of keys, which are strings")
    try:
        _judge(tags=added)
    except InvalidBody as error:
        raise InvalidBody(error.message.replace("tags[", "add_tags[")) from None
    tags = {tag.key: tag.written() for tag in current.tags or [] if tag.key not in deleted}
    tags |= {tag["key"]: tag for tag in added}
    _judge(tags=list(tags.values()))
    return list(tags.values())


def notifications_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """`spec.emailNotifications` for PATCH …/notifications; empty: leave it out."""
    given = _given(body, "email_notifications").get("email_notifications", {})
    notifications = Reading().read(EmailNotifications, given, "email_notifications")
    _judge(emailNotifications=notifications)
    return notifications


def _given(body: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    given = read_mapping(sound(body), "")
    refuse_others_alone(given, *fields)
    return given


def _judge(**part: Any) -> None:
    judge({"config": _SOME_CONFIG, **part})
