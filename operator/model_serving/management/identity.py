"""Who am I: SCIM's `Me`, which SDK, Terraform and bundles ask before anything else. Called through `operations.py`."""

from __future__ import annotations

import hashlib

from starlette.responses import JSONResponse, Response

from model_serving.management.call import Call, Operation

_ID_DIGITS = 16


async def me(call: Call) -> Response:
    """The caller as a SCIM user. The header carries the workspace's id: without it Terraform can make nothing."""
    name = call.caller.name
    body = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": stable_id(name),
        "userName": name,
        "displayName": name,
        "active": True,
        "emails": [{"type": "work", "value": name, "primary": True}] if "@" in name else [],
        "groups": [{"display": group, "value": stable_id(group)} for group in sorted(call.caller.groups)],
    }
    return JSONResponse(body, headers={"X-Databricks-Org-Id": call.platform.workspace_id})


def stable_id(name: str) -> str:
    """Digits that stand for a name: the same for ever and everywhere, no leading zero."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return str(10 ** (_ID_DIGITS - 1) + number % (9 * 10 ** (_ID_DIGITS - 1)))


async def telemetry(_: Call) -> dict[str, object]:
    """Takes what the CLI tells of itself, and keeps nothing."""
    return {}


OPERATIONS = [
    Operation("GET", "/api/2.0/preview/scim/v2/Me", me, "Who the caller is", response="Me"),
    Operation("POST", "/telemetry-ext", telemetry, "Takes telemetry of clients and drops it", response="Empty"),
    Operation("POST", "/api/2.0/telemetry-ext", telemetry, "Takes telemetry of clients and drops it", response="Empty"),
]
