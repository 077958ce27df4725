"""What an endpoint says of itself: metrics, logs, its OpenAPI document. Called through `operations.py`."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from model_serving.api.policy import PermissionLevel
from model_serving.management.access import readable, shown
from model_serving.management.call import Call, Operation
from model_serving.management.convert.openapi import openapi_body
from model_serving.management.endpoints import ENDPOINT
from model_serving.management.errors import DoesNotExist
from model_serving.stores import Stored

_SERVED = ENDPOINT + "/served-models/{entity}"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


async def get_metrics(call: Call) -> Response:
    """Prometheus text of the endpoint's proxies."""
    stored = await readable(call.platform, call.caller, call.name)
    return PlainTextResponse(await call.platform.endpoints.metrics(stored), media_type=_METRICS)


async def get_openapi(call: Call) -> Response:
    """How to query the endpoint."""
    stored = await readable(call.platform, call.caller, call.name)
    return JSONResponse(openapi_body(stored, call.base_url))


async def get_logs(call: Call) -> dict[str, Any]:
    """The latest lines of the endpoint's proxies. They name callers, so that viewers do not see them."""
    stored = await readable(call.platform, call.caller, call.name, wanted=PermissionLevel.CAN_MANAGE)
    _require_entity(call, stored)
    return {"logs": await call.platform.endpoints.logs(stored)}


async def get_build_logs(call: Call) -> dict[str, Any]:
    """That nothing is built."""
    stored = await readable(call.platform, call.caller, call.name)
    entity = _require_entity(call, stored)
    return {"logs": f"nothing is built for {entity}: an external model is served by its provider\n"}


def _require_entity(call: Call, stored: Stored) -> str:
    """The served entity of the path, in the config that is asked for or one that is kept."""
    configs = [stored.endpoint.spec.config, *(revision.parsed_config for revision in stored.history)]
    known = {entity.name for config in configs for entity in config.served_entities}
    entity = call.path["entity"]
    if entity not in known:
        named = ", ".join(sorted(known))
        raise DoesNotExist(f"the serving endpoint {call.name} has no served entity {shown(entity)}: it has {named}")
    return entity


OPERATIONS = [
    Operation("GET", ENDPOINT + "/metrics", get_metrics, "Metrics of an endpoint", content_type="text/plain"),
    Operation("GET", ENDPOINT + "/openapi", get_openapi, "OpenAPI document of an endpoint"),
    Operation("GET", _SERVED + "/logs", get_logs, "Latest log lines", response="Logs"),
    Operation("GET", _SERVED + "/build-logs", get_build_logs, "Nothing is built here", response="Logs"),
]
