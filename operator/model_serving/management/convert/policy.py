"""REST bodies of the routes for limits, gateway, tags and notifications, as new parts of the spec's manifest. Pure.

All raise `InvalidBody`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_serving.api.endpoint import EndpointSpec


def rate_limits_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`spec.rateLimits` for PUT …/rate-limits; empty: none."""
    raise NotImplementedError


def ai_gateway_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """`spec.aiGateway` for PUT …/ai-gateway, which replaces the whole block; empty: leave it out."""
    raise NotImplementedError


def tags_patched(body: Mapping[str, Any], current: EndpointSpec) -> list[dict[str, Any]]:
    """`spec.tags` after PATCH …/tags: `delete_tags` are taken out first, then `add_tags` added or changed."""
    raise NotImplementedError


def notifications_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """`spec.emailNotifications` for PATCH …/notifications; empty: leave it out."""
    raise NotImplementedError
