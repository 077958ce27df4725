"""Permissions of an endpoint by its id, as Databricks' permissions API has them; they are `spec.access`.

Called through `operations.py`. Reading needs CAN_VIEW (what `kubectl` shows as well), writing CAN_MANAGE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.policy import PermissionLevel
from model_serving.management.access import readable, shown
from model_serving.management.call import Call, Operation
from model_serving.management.convert.access_list import Levels, levels_of, read_levels, render, with_levels
from model_serving.management.errors import DoesNotExist
from model_serving.management.writing import ATTEMPTS, busy, replace, warned
from model_serving.stores import Changed, Stored

_PATH = "/api/2.0/permissions/serving-endpoints/{id}"
_DESCRIPTIONS = {
    PermissionLevel.CAN_MANAGE: "May change and delete the endpoint and say who else may use it; may query it",
    PermissionLevel.CAN_QUERY: "May query the endpoint and see its definition",
    PermissionLevel.CAN_VIEW: "May see the endpoint's definition",
}


async def get_permissions(call: Call) -> dict[str, Any]:
    """Who may do what."""
    return render((await _found(call, PermissionLevel.CAN_VIEW)).endpoint, call.caller.name)


async def get_levels(call: Call) -> dict[str, Any]:
    """The levels that can be given."""
    await _found(call, PermissionLevel.CAN_VIEW)
    levels = [{"permission_level": str(level), "description": text} for level, text in _DESCRIPTIONS.items()]
    return {"permission_levels": levels}


async def set_permissions(call: Call) -> dict[str, Any]:
    """Replaces the list."""
    return await _write(call, lambda endpoint: read_levels(call.body, endpoint))


async def update_permissions(call: Call) -> dict[str, Any]:
    """Merges into the list: principals that are not named keep what they have."""
    return await _write(call, lambda endpoint: levels_of(endpoint) | read_levels(call.body, endpoint))


async def _write(call: Call, decide: Callable[[ServingEndpoint], Levels]) -> dict[str, Any]:
    for _ in range(ATTEMPTS):
        stored = await _found(call, PermissionLevel.CAN_MANAGE)
        wanted = with_levels(stored.endpoint, decide(stored.endpoint), call.caller.name)
        try:
            if wanted != stored.endpoint:
                stored = await replace(call, stored, wanted)
            return warned(stored, render(stored.endpoint, call.caller.name))
        except Changed:
            await asyncio.sleep(0)
    raise busy(stored.endpoint.endpoint_name)


async def _found(call: Call, wanted: PermissionLevel) -> Stored:
    """By name in the end, because that read sees every write that was answered."""
    known = call.path["id"]
    for stored in await call.platform.endpoints.all():
        if stored.endpoint.databricks_id == known:
            found = await readable(call.platform, call.caller, stored.endpoint.endpoint_name, wanted=wanted)
            if found.endpoint.databricks_id == known:
                return found  # and not another of its name, older or made since
    raise DoesNotExist(f"there is no serving endpoint with the id {shown(known)}")


OPERATIONS = [
    Operation("GET", _PATH, get_permissions, "Show who may use an endpoint", response="Permissions"),
    Operation("PUT", _PATH, set_permissions, "Replace who may use an endpoint", "PermissionsWrite", "Permissions"),
    Operation("PATCH", _PATH, update_permissions, "Add to who may use an endpoint", "PermissionsWrite", "Permissions"),
    Operation(
        "GET", f"{_PATH}/permissionLevels", get_levels, "Show the levels that can be given", response="PermissionLevels"
    ),
]
