"""What changes an endpoint without an update: limits, gateway, tags, notifications. Called through `operations.py`.

Each writes its own part of the spec alone, also while an update runs.
"""

from __future__ import annotations

from typing import Any

from model_serving.management.access import readable
from model_serving.management.call import Call, Operation
from model_serving.management.convert.policy import ai_gateway_of, notifications_of, rate_limits_of, tags_patched
from model_serving.management.convert.rest import ai_gateway_body, notifications_body, rate_limits_body, tags_body
from model_serving.management.endpoints import ENDPOINT
from model_serving.management.errors import InvalidParameter, NotImplementedHere
from model_serving.management.writing import change, warned, with_spec


async def put_rate_limits(call: Call) -> dict[str, Any]:
    """Replaces the limits of this route; those of the gateway stay."""
    written = await change(call, lambda stored: with_spec(stored, rateLimits=rate_limits_of(call.body)))
    return warned(written, rate_limits_body(written.endpoint.spec))


async def put_ai_gateway(call: Call) -> dict[str, Any]:
    """Replaces the whole block; an empty body takes it away."""
    written = await change(call, lambda stored: with_spec(stored, aiGateway=ai_gateway_of(call.body)))
    return warned(written, ai_gateway_body(written.endpoint.spec))


async def patch_tags(call: Call) -> dict[str, Any]:
    """Removes and adds tags."""
    written = await change(
        call, lambda stored: with_spec(stored, tags=tags_patched(call.body, stored.endpoint.spec))
    )  # fmt: skip
    return warned(written, tags_body(written.endpoint.spec))


async def patch_notifications(call: Call) -> dict[str, Any]:
    """Replaces the addresses; they are kept and shown."""
    written = await change(
        call, lambda stored: with_spec(stored, emailNotifications=notifications_of(call.body))
    )  # fmt: skip
    return warned(written, notifications_body(written))


async def patch_telemetry(call: Call) -> dict[str, Any]:
    """Refused: Databricks has no telemetry settings for external models either."""
    stored = await readable(call.platform, call.caller, call.name)
    entities = stored.endpoint.spec.config.served_entities
    if any(entity.external_model for entity in entities):
        raise InvalidParameter(
            f"telemetry_config: the serving endpoint {call.name} serves an external model, which has no telemetry "
            "settings: scrape GET …/metrics instead"
        )
    raise NotImplementedHere("telemetry_config: telemetry tables do not exist here: scrape GET …/metrics instead")


OPERATIONS = [
    Operation("PUT", ENDPOINT + "/rate-limits", put_rate_limits, "Replace the rate limits", "RateLimits", "RateLimits"),
    Operation("PUT", ENDPOINT + "/ai-gateway", put_ai_gateway, "Replace the gateway block", "AiGateway", "AiGateway"),
    Operation("PATCH", ENDPOINT + "/tags", patch_tags, "Add and remove tags", "TagsPatch", "Tags"),
    Operation(
        "PATCH", ENDPOINT + "/notifications", patch_notifications, "Replace the addresses that are told of updates",
        "Notifications", "Notifications",
    ),
    Operation("PATCH", ENDPOINT + "/telemetry-config", patch_telemetry, "Refused for external models", "Telemetry"),
]  # fmt: skip
