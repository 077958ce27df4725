"""Writes of endpoints: read, decide, write, again when somebody wrote in between. Every handler that changes one calls.

The platform decides with the caller's token whether a write is allowed; this says it in REST's words.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from model_serving.api.access import includes
from model_serving.api.endpoint import API_VERSION, KIND, ServingEndpoint
from model_serving.api.policy import PermissionLevel
from model_serving.api.validation import InvalidEndpoint, parse_endpoint
from model_serving.management.access import changeable, level_of, missing_level
from model_serving.management.call import Call
from model_serving.management.convert.problems import rest_problems
from model_serving.management.convert.rest import endpoint_body
from model_serving.management.errors import Conflict, InvalidParameter, PermissionDenied
from model_serving.stores import Changed, Denied, Stored, StoreError

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 5
_ASIDE_SECONDS = 0.02


async def change(call: Call, edit: Callable[[Stored], ServingEndpoint]) -> Stored:
    """Writes what `edit` makes of the endpoint that the path names. Raises `ApiError`, `StoreError`."""
    for attempt in range(ATTEMPTS):
        stored = await changeable(call.platform, call.caller, call.name)
        try:
            return await replace(call, stored, edit(stored))
        except Changed:
            await step_aside(attempt)
    raise busy(call.name)


async def step_aside(attempt: int) -> None:
    """A short while, longer each time and by chance, so that those who met do not meet again."""
    await asyncio.sleep(random.uniform(0, _ASIDE_SECONDS * 2**attempt))


async def replace(call: Call, stored: Stored, endpoint: ServingEndpoint) -> Stored:
    """One write. `PermissionDenied` in REST's words; other `StoreError`s as they are."""
    return await allowed(call, stored, call.platform.endpoints.replace(call.caller, stored, endpoint))


async def allowed(call: Call, stored: Stored, write: Awaitable[T]) -> T:
    """What a `write` of an endpoint returns; `PermissionDenied` in REST's words when the platform forbids it."""
    try:
        return await write
    except Denied as error:
        raise await _denied(call, stored, error) from None


async def _denied(call: Call, stored: Stored, error: Denied) -> PermissionDenied:
    level = await level_of(call.platform, call.caller, stored)
    if includes(level, PermissionLevel.CAN_MANAGE):
        name = stored.endpoint.endpoint_name
        return PermissionDenied(f"the platform forbids {call.caller.name} to change {name}: {error.message}")
    return missing_level(call.caller, stored, PermissionLevel.CAN_MANAGE, error.message)


def busy(name: str) -> Conflict:
    """What is said after too many attempts."""
    return Conflict(f"others keep changing the serving endpoint {name}, {ATTEMPTS} attempts met them: send it again")


def endpoint_of(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> ServingEndpoint:
    """A valid endpoint of these parts (YAML spelling). Raises `InvalidParameter` in REST spelling."""
    try:
        return parse_endpoint({"apiVersion": API_VERSION, "kind": KIND, "metadata": dict(metadata), "spec": dict(spec)})
    except InvalidEndpoint as error:
        raise InvalidParameter(rest_problems(error.problems)) from None


def with_spec(stored: Stored, **parts: Any) -> ServingEndpoint:
    """The stored endpoint with these parts of its spec (YAML spelling) replaced; an empty part is left out."""
    spec = {name: part for name, part in stored.endpoint.spec.written().items() if name not in parts}
    spec |= {name: part for name, part in parts.items() if part}
    valid = endpoint_of({"name": stored.endpoint.metadata.name}, spec)
    return stored.endpoint.model_copy(update={"spec": valid.spec})


def annotated(stored: Stored, annotation: str, value: str) -> ServingEndpoint:
    """The stored endpoint with that annotation."""
    annotations = {**stored.endpoint.metadata.annotations, annotation: value}
    metadata = stored.endpoint.metadata.model_copy(update={"annotations": annotations})
    return stored.endpoint.model_copy(update={"metadata": metadata})


async def detailed(call: Call, stored: Stored) -> dict[str, Any]:
    """The endpoint as its caller sees it."""
    level = await level_of(call.platform, call.caller, stored)
    return endpoint_body(stored, str(level or PermissionLevel.CAN_VIEW))


def warned(stored: Stored, body: dict[str, Any]) -> dict[str, Any]:
    """`body`, with a warning if somebody writes this object back."""
    if not stored.owner:
        return body
    name = stored.endpoint.endpoint_name
    text = f"the serving endpoint {name} is kept by {stored.owner}, which may undo this: change it there as well"
    return {**body, "warnings": [text]}


async def watched(call: Call, stored: Stored, seconds: float) -> AsyncIterator[Stored]:
    """The endpoint as it becomes, from `stored` on, until it is gone or the time is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    uid = stored.endpoint.metadata.uid
    found: Stored | None = stored
    while found is not None and found.endpoint.metadata.uid == uid:
        yield found
        if loop.time() >= end:
            return
        await asyncio.sleep(min(call.patience.poll, seconds))
        found = await call.platform.endpoints.find(stored.endpoint.endpoint_name)


async def forgive(call: Call, what: str, write: Awaitable[object]) -> None:
    """Awaits a write that tidies up; that it fails is logged and no reason to fail the call."""
    try:
        await write
    except StoreError as error:
        log.warning("%s for %s: %s", what, call.caller.name, error.message)
