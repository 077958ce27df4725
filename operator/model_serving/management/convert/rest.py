"""The resource as REST shows it. Pure.

`stored.endpoint.spec` must be what was written (`Model.written`), not filled with defaults, so that what was sent comes
back equal. `level` is the caller's permission level, as `CAN_MANAGE`.
"""

from __future__ import annotations

from typing import Any

from model_serving.api.endpoint import EndpointSpec
from model_serving.stores import Stored


def endpoint_body(stored: Stored, level: str) -> dict[str, Any]:
    """The endpoint in detail: answer of create, get and update."""
    raise NotImplementedError


def summary_body(stored: Stored, level: str) -> dict[str, Any]:
    """The endpoint as an item of the list."""
    raise NotImplementedError


def rate_limits_body(spec: EndpointSpec) -> dict[str, Any]:
    """Answer of PUT …/rate-limits: `{"rate_limits": […]}`. Shown nowhere else."""
    raise NotImplementedError


def ai_gateway_body(spec: EndpointSpec) -> dict[str, Any]:
    """Answer of PUT …/ai-gateway: the block, empty when there is none."""
    raise NotImplementedError


def tags_body(spec: EndpointSpec) -> dict[str, Any]:
    """Answer of PATCH …/tags: `{"tags": […]}`."""
    raise NotImplementedError


def notifications_body(stored: Stored) -> dict[str, Any]:
    """Answer of PATCH …/notifications: `{"name", "email_notifications"}`."""
    raise NotImplementedError
