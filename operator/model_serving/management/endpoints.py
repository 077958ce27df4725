"""Create, list, get and delete endpoints. Called through `operations.py`."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping
from typing import Any

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.lock import unobserved
from model_serving.api.names import CREATOR_ANNOTATION, kept_keys_name, object_name
from model_serving.api.status import ConfigUpdateState
from model_serving.api.validation import check_create
from model_serving.management.access import readable, require_create, visible
from model_serving.management.call import Call, Operation
from model_serving.management.convert.draft import draft_create, filled
from model_serving.management.convert.problems import rest_problems
from model_serving.management.convert.rest import summary_body
from model_serving.management.errors import AlreadyExists, InvalidParameter
from model_serving.management.references import resolve, unused
from model_serving.management.writing import allowed, detailed, endpoint_of, forgive, warned, watched
from model_serving.stores import Away, Stored, StoreError, Taken

ENDPOINTS = "/api/2.0/serving-endpoints"
ENDPOINT = ENDPOINTS + "/{name}"


async def create_endpoint(call: Call) -> dict[str, Any]:
    """Keys first, then the endpoint, then the endpoint owns its keys; taken back when a step fails."""
    await require_create(call.platform, call.caller)
    draft = draft_create(call.body)
    if await call.platform.endpoints.find(draft.name) is not None:
        raise _taken(draft.name)
    name = object_name(draft.name)
    resolved = await resolve(call, name, draft)
    metadata = {
        "name": name,
        "namespace": call.platform.namespace,
        "annotations": {CREATOR_ANNOTATION: call.caller.name},
    }
    endpoint = endpoint_of(metadata, filled(draft, resolved.refs))
    if found := check_create(endpoint, call.platform.leave):
        raise InvalidParameter(rest_problems(found))
    stored = await _create(call, endpoint, resolved.new)
    return warned(stored, await detailed(call, await _started(call, stored)))


async def _create(call: Call, endpoint: ServingEndpoint, keys: Mapping[str, bytes]) -> Stored:
    secrets, kept_name = call.platform.secrets, kept_keys_name(endpoint.metadata.name)
    stored: Stored | None = None
    try:
        if keys:
            await secrets.write_owned(call.caller, kept_name, keys)
        stored = await call.platform.endpoints.create(call.caller, endpoint)
        if keys:
            await secrets.adopt(call.caller, kept_name, stored)
        return stored
    except BaseException as error:
        if stored is not None:
            await forgive(call, "taking back an endpoint", call.platform.endpoints.delete(call.caller, stored))
        unsure = isinstance(error, Away | CancelledError)
        if keys and not (unsure and await _is_there(call, endpoint)):
            undone = secrets.write_owned(call.caller, kept_name, dict.fromkeys(keys))
            await forgive(call, "taking back keys", undone)
        if isinstance(error, Taken):
            raise _taken(endpoint.endpoint_name) from None
        raise


async def _is_there(call: Call, endpoint: ServingEndpoint) -> bool:
    """Whether an endpoint may have been made although nobody said so: without its keys it would never serve."""
    try:
        found = await call.platform.endpoints.find(endpoint.endpoint_name)
    except StoreError:
        return True
    if found is None:
        return False
    kept_name = kept_keys_name(endpoint.metadata.name)
    await forgive(call, "giving keys to their endpoint", call.platform.secrets.adopt(call.caller, kept_name, found))
    return True


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"there is a serving endpoint {name} already: choose another name, or update that one")


async def _started(call: Call, created: Stored) -> Stored:
    """The new endpoint once it serves or has failed, or as it is when patience ends: external models start at once."""
    stored = created
    async for stored in watched(call, created, call.patience.ready):
        status = stored.endpoint.status
        seen = status.observed_generation > 0 and not unobserved(stored.endpoint)
        if seen and status.state.config_update is not ConfigUpdateState.IN_PROGRESS:
            break
    return stored


async def list_endpoints(call: Call) -> dict[str, Any]:
    """All that the caller may see, oldest first."""
    found = await visible(call.platform, call.caller)
    return {"endpoints": [summary_body(stored, str(level)) for stored, level in found]}


async def get_endpoint(call: Call) -> dict[str, Any]:
    """One in detail."""
    return await detailed(call, await readable(call.platform, call.caller, call.name))


async def delete_endpoint(call: Call) -> dict[str, Any]:
    """With its keys: whoever makes an endpoint of that name next must not meet them."""
    stored = await readable(call.platform, call.caller, call.name)
    kept_name = kept_keys_name(stored.endpoint.metadata.name)
    # Read before: what is there after it may belong to the next endpoint of that name.
    keys = await unused(call, kept_name, ())
    await allowed(call, stored, call.platform.endpoints.delete(call.caller, stored))
    if keys:
        await forgive(call, "removing keys", call.platform.secrets.write_owned(call.caller, kept_name, keys))
    return warned(stored, {})


def _rows(path: str) -> list[Operation]:
    return [
        Operation("POST", path, create_endpoint, "Create an endpoint", "CreateEndpoint", "Endpoint"),
        Operation("GET", path, list_endpoints, "List endpoints", response="EndpointList"),
    ]


OPERATIONS = [
    *_rows(ENDPOINTS),
    *_rows(ENDPOINTS + "/"),
    Operation("GET", ENDPOINT, get_endpoint, "Get an endpoint", response="Endpoint"),
    Operation("DELETE", ENDPOINT, delete_endpoint, "Delete an endpoint", response="Empty"),
]
