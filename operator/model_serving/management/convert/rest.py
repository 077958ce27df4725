"""The resource as REST shows it. Pure.

`stored.endpoint.spec` must be what was written (`Model.written`), not filled with defaults, so that what was sent comes
back equal. `level` is the caller's permission level, as `CAN_MANAGE`.
"""

from __future__ import annotations

from typing import Any

from model_serving.api.config import ServedEntity
from model_serving.api.endpoint import EndpointSpec
from model_serving.api.external_model import Task
from model_serving.api.names import CREATOR_ANNOTATION, kept_keys_name
from model_serving.lifecycle.situation import parse_time
from model_serving.management.convert.problems import respelt
from model_serving.management.convert.standing import Standing, Version, entity_state, standing
from model_serving.management.convert.writing import Json, write, write_all
from model_serving.stores import Stored

_MIRROR = {"entity_name": "model_name", "entity_version": "model_version"}
_NOT_MIRRORED = ("external_model", "foundation_model", "type")


def endpoint_body(stored: Stored, level: str) -> dict[str, Any]:
    """The endpoint in detail: answer of create, get and update."""
    endpoint, spec, stand = stored.endpoint, stored.endpoint.spec, standing(stored)
    created = _milliseconds(endpoint.metadata.creation_timestamp)
    creator = endpoint.metadata.annotations.get(CREATOR_ANNOTATION, "")
    body: Json = {
        "name": endpoint.endpoint_name,
        "id": endpoint.databricks_id,
        "creator": creator,
        "creator_display_name": creator,
        "creator_kind": "User",
        "creation_timestamp": created,
        "last_updated_timestamp": max(_milliseconds(stored.updated_at), created),
        "state": {"ready": stand.ready.value, "config_update": stand.update.value},
    }
    if stand.serving is not None:
        body["config"] = config_body(stored, stand, stand.serving)
    if stand.pending is not None:
        started = {"start_time": _milliseconds(stand.pending.started_at) or created}
        body["pending_config"] = config_body(stored, stand, stand.pending) | started
    return (
        body
        | _kind(stand)
        | tags_body(spec)
        | {"permission_level": level, "route_optimized": False, "description": spec.description or ""}
        | _optional(spec)
    )


def summary_body(stored: Stored, level: str) -> dict[str, Any]:
    """The endpoint as an item of the list: the same, which clients of the summary do not mind."""
    return endpoint_body(stored, level)


def config_body(stored: Stored, stand: Standing, version: Version) -> dict[str, Any]:
    """One version of the config with the states of its entities."""
    config = version.config
    entities = [_entity(stored, stand, version, entity) for entity in config.served_entities]
    routes = [
        {
            "served_entity_name": route.served_entity_name,
            "served_model_name": route.served_entity_name,
            "traffic_percentage": route.traffic_percentage,
        }
        for route in config.routes
    ]
    body: Json = {
        "served_entities": entities,
        "served_models": [_mirrored(entity) for entity in entities],
        "traffic_config": {"routes": routes},
        "config_version": version.number,
    }
    if config.auto_capture_config is not None:
        body["auto_capture_config"] = write(config.auto_capture_config, "")
    return body


def rate_limits_body(spec: EndpointSpec) -> dict[str, Any]:
    """Answer of PUT …/rate-limits: `{"rate_limits": […]}`. Shown nowhere else."""
    return {"rate_limits": write_all(spec.rate_limits)}


def ai_gateway_body(spec: EndpointSpec) -> dict[str, Any]:
    """Answer of PUT …/ai-gateway: the block, empty when there is none."""
    return write(spec.ai_gateway, "") if spec.ai_gateway else {}


def tags_body(spec: EndpointSpec) -> dict[str, Any]:
    """Answer of PATCH …/tags: `{"tags": […]}`."""
    return {"tags": write_all(spec.tags)}


def notifications_body(stored: Stored) -> dict[str, Any]:
    """Answer of PATCH …/notifications: `{"name", "email_notifications"}`."""
    sent = stored.endpoint.spec.email_notifications
    return {"name": stored.endpoint.endpoint_name, "email_notifications": write(sent, "") if sent else {}}


def kept_keys(stored: Stored) -> str:
    """The Secret with the endpoint's keys that were given in plain text."""
    return kept_keys_name(stored.endpoint.metadata.name)


def _kind(stand: Standing) -> Json:
    """What kind of endpoint this is; several clients choose by it how to ask."""
    model = stand.shown.config.served_entities[0].external_model
    if model is None:
        return {"endpoint_type": "FOUNDATION_MODEL_API"}
    said: Json = {"task": model.task.value, "endpoint_type": "EXTERNAL_MODEL"}
    return said | ({"capabilities": {"function_calling": True}} if model.task is Task.CHAT else {})


def _optional(spec: EndpointSpec) -> Json:
    """Fields that are absent unless they were set. (An empty gateway block makes Terraform plan for ever, and so do
    limits of the old route wherever they are shown.)"""
    said: Json = {}
    if gateway := ai_gateway_body(spec):
        said["ai_gateway"] = gateway
    if spec.email_notifications is not None:
        said["email_notifications"] = write(spec.email_notifications, "")
    if spec.budget_policy_id is not None:
        said["budget_policy_id"] = spec.budget_policy_id
    return said


def _entity(stored: Stored, stand: Standing, version: Version, entity: ServedEntity) -> Json:
    endpoint = stored.endpoint
    state = entity_state(stored, stand, version, entity.name)
    said = write(entity, kept_keys(stored), listed=True)
    if entity.external_model is not None:
        said["type"] = "EXTERNAL_MODEL"
    else:
        said["type"] = "FOUNDATION_MODEL"
        said["foundation_model"] = {"name": entity.entity_name, "display_name": entity.entity_name}
    return said | {
        "state": {
            "deployment": state.deployment.value,
            "deployment_state_message": respelt(state.deployment_state_message),
        },
        "creator": endpoint.metadata.annotations.get(CREATOR_ANNOTATION, ""),
        "creation_timestamp": _milliseconds(version.started_at or endpoint.metadata.creation_timestamp),
    }


def _mirrored(entity: Json) -> Json:
    """An entity as the deprecated `served_models` show it."""
    return {_MIRROR.get(name, name): value for name, value in entity.items() if name not in _NOT_MIRRORED}


def _milliseconds(text: str) -> int:
    moment = parse_time(text) if text else None
    return int(moment.timestamp() * 1000) if moment else 0
