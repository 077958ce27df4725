"""Schemas of request and answer bodies, for the document of the REST API (`document.py`). They describe, nothing more:
bodies are judged by the rules of the resource, in `convert/`.

Rows of operations name them. What the resource's models know is taken from them.
"""

from __future__ import annotations

from typing import Any

from model_serving.api.config import AutoCaptureConfig, ServedEntity
from model_serving.api.policy import AiGateway, EmailNotifications, PermissionLevel, RateLimit, Tag
from model_serving.api.status import ConfigUpdateState, DeploymentState, ReadyState
from model_serving.management import errors
from model_serving.management.model_schemas import Schema, models, properties, ref
from model_serving.stores import Permission

_NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 63,
    "pattern": "^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$",
}
_TEXT: Schema = {"type": "string"}
_MILLISECONDS: Schema = {"type": "integer", "description": "Milliseconds since the epoch."}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return {**made, "required": list(required)} if required else made


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _some(items: Schema) -> Schema:
    return {**_list(items), "minItems": 1}


def _words(words: Any) -> Schema:
    return {"type": "string", "enum": [str(word) for word in words]}


def _codes() -> list[str]:
    kinds: list[type[errors.ApiError]] = [errors.ApiError, *errors.ApiError.__subclasses__()]
    return sorted({kind.code for kind in kinds})


def _requests() -> dict[str, Schema]:
    percentage = {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 100},
            {"type": "string", "pattern": "^(100|[1-9]?[0-9])$"},
        ]
    }
    route = _object(
        ("traffic_percentage",), served_entity_name=_NAME, served_model_name=_NAME, traffic_percentage=percentage
    )  # fmt: skip
    notifications = _object(email_notifications=ref("EmailNotifications"))
    return {
        "Config": _object(
            ("served_entities",), served_entities=_some(ref("ServedEntity")),
            traffic_config=_object(("routes",), routes=_some(route)), auto_capture_config=ref("AutoCaptureConfig"),
        ),
        "CreateEndpoint": _object(
            ("name", "config"), name=_NAME, config=ref("Config"), ai_gateway=ref("AiGateway"),
            rate_limits=_list(ref("RateLimit")), tags=_list(ref("Tag")), description=_TEXT, budget_policy_id=_TEXT,
            email_notifications=ref("EmailNotifications"), route_optimized={"const": False},
        ),
        "Rollback": _object(("config_version",), config_version={"type": "integer", "minimum": 1}),
        "RateLimits": _object(rate_limits=_list(ref("RateLimit"))),
        "TagsPatch": _object(add_tags=_list(ref("Tag")), delete_tags=_list(_TEXT)),
        "Notifications": notifications,
        "Telemetry": _object(telemetry_config={"type": "object"}),
        **models(ServedEntity, AutoCaptureConfig, AiGateway, EmailNotifications, RateLimit, Tag),
    }  # fmt: skip


def _answers() -> dict[str, Schema]:
    state = _object(("ready", "config_update"), ready=_words(ReadyState), config_update=_words(ConfigUpdateState))
    entity_state = _object(deployment=_words(DeploymentState), deployment_state_message=_TEXT)
    served = _object(
        ("name", "state"), **properties(ServedEntity), type=_TEXT, state=entity_state, creator=_TEXT,
        creation_timestamp=_MILLISECONDS,
    )  # fmt: skip
    config = _object(
        ("served_entities", "traffic_config", "config_version"), served_entities=_list(served),
        traffic_config=_object(("routes",)), config_version={"type": "integer", "minimum": 1},
    )  # fmt: skip
    endpoint = _object(
        ("name", "id", "state"), name=_TEXT, id=_TEXT, creator=_TEXT, state=state, config=config,
        pending_config=config, tags=_list(ref("Tag")), task=_TEXT, permission_level=_words(PermissionLevel),
        creation_timestamp=_MILLISECONDS, last_updated_timestamp=_MILLISECONDS, warnings=_list(_TEXT),
    )  # fmt: skip
    version = _object(
        ("config_version", "outcome", "config"), config_version={"type": "integer"}, serving={"type": "boolean"},
        outcome=_TEXT, started_at=_MILLISECONDS, message=_TEXT, config=ref("Config"),
    )  # fmt: skip
    return {
        "Empty": _object(),
        "Endpoint": endpoint,
        "EndpointList": _object(("endpoints",), endpoints=_list(ref("Endpoint"))),
        "History": _object(("versions",), versions=_list(version)),
        "Tags": _object(("tags",), tags=_list(ref("Tag"))),
        "Logs": _object(("logs",), logs=_TEXT),
        "Error": _object(("error_code", "message"), error_code=_words(_codes()), message=_TEXT),
    }


def _permissions() -> dict[str, Schema]:
    principals = {"user_name": _TEXT, "group_name": _TEXT, "service_principal_name": _TEXT}
    level = _words(PermissionLevel)
    given = _object(permission_level=level, inherited={"type": "boolean"})
    shown = _object((), **principals, display_name=_TEXT, all_permissions=_list(given))
    described = _object(permission_level=level, description=_TEXT)
    return {
        "PermissionsWrite": _object(
            access_control_list={**_list(_object(("permission_level",), **principals, permission_level=level)),
                                 "maxItems": 100},
        ),
        "Permissions": _object(
            ("object_id", "object_type", "access_control_list"),
            object_id=_TEXT, object_type=_TEXT, access_control_list=_list(shown), warnings=_list(_TEXT),
        ),
        "PermissionLevels": _object(("permission_levels",), permission_levels=_list(described)),
        "Me": _object(
            ("id", "userName"), id=_TEXT, userName=_TEXT, displayName=_TEXT, active={"type": "boolean"},
            emails=_list(_object(value=_TEXT)), groups=_list(_object(display=_TEXT, value=_TEXT)),
        ),
    }  # fmt: skip


def _secrets() -> dict[str, Schema]:
    scope: Schema = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[-._@A-Za-z0-9]+$"}
    key: Schema = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[-_A-Za-z0-9][-._A-Za-z0-9]*$"}
    permission = _words(Permission)
    acl = _object(("principal", "permission"), principal=_TEXT, permission=permission)
    return {
        "ScopeCreate": _object(("scope",), scope=scope, initial_manage_principal=_TEXT, scope_backend_type=_TEXT),
        "ScopeName": _object(("scope",), scope=scope),
        "Scopes": _object(("scopes",), scopes=_list(_object(("name",), name=scope, backend_type=_TEXT))),
        "SecretWrite": _object(("scope", "key"), scope=scope, key=key, string_value=_TEXT, bytes_value=_TEXT),
        "SecretName": _object(("scope", "key"), scope=scope, key=key),
        "SecretKeys": _object(
            ("secrets",), secrets=_list(_object(("key",), key=key, last_updated_timestamp=_MILLISECONDS))
        ),
        "AclWrite": _object(
            ("scope", "principal", "permission"), scope=scope, principal=_TEXT, permission=permission
        ),
        "AclName": _object(("scope", "principal"), scope=scope, principal=_TEXT),
        "Acl": acl,
        "Acls": _object(("items",), items=_list(acl)),
    }  # fmt: skip


def schemas() -> dict[str, Schema]:
    """All, by name."""
    return {**_requests(), **_answers(), **_permissions(), **_secrets()}
