"""Who may see what: the levels of `spec.access` together with the platform's own rules. Every handler that reads asks.

Writes are not judged here: the platform decides them with the caller's token.
"""

from __future__ import annotations

from model_serving.api.access import includes, level_given
from model_serving.api.policy import PermissionLevel
from model_serving.management.errors import DoesNotExist, PermissionDenied
from model_serving.stores import Caller, Platform, Stored, Verb

_SHOWN = 80


async def level_of(platform: Platform, caller: Caller, stored: Stored) -> PermissionLevel | None:
    """The caller's level with one endpoint; None: it may not even see it. Raises `Away`."""
    level = level_given(stored.endpoint, caller.name, caller.groups)
    if caller.admin or level is PermissionLevel.CAN_MANAGE:
        return PermissionLevel.CAN_MANAGE
    may, name = platform.callers.may, stored.endpoint.metadata.name
    if await may(caller, Verb.UPDATE, name) and await may(caller, Verb.DELETE, name):
        return PermissionLevel.CAN_MANAGE
    if level is None and await may(caller, Verb.GET, name):
        return PermissionLevel.CAN_VIEW
    return level


async def visible(platform: Platform, caller: Caller) -> list[tuple[Stored, PermissionLevel]]:
    """The endpoints that the caller may see in a list, each with its level: all with the right to list, else those
    whose `spec.access` gives it one. Rights on single objects are not asked for: they allow no list either."""
    found = await platform.endpoints.all()
    given = [(each, level_given(each.endpoint, caller.name, caller.groups)) for each in found]
    may, floor = platform.callers.may, None
    if caller.admin or (await may(caller, Verb.UPDATE) and await may(caller, Verb.DELETE)):
        floor = PermissionLevel.CAN_MANAGE
    elif await may(caller, Verb.LIST):
        floor = PermissionLevel.CAN_VIEW
    levels = [(each, floor if floor and not includes(level, floor) else level) for each, level in given]
    return [(each, level) for each, level in levels if level is not None]


async def readable(
    platform: Platform, caller: Caller, name: str, *, wanted: PermissionLevel = PermissionLevel.CAN_VIEW
) -> Stored:
    """The endpoint that clients call `name`, for a caller with at least the level `wanted`.

    Raises `DoesNotExist`, `PermissionDenied`, `Away`.
    """
    stored, level = await _found(platform, caller, name)
    require(caller, stored, level, wanted)
    return stored


async def changeable(platform: Platform, caller: Caller, name: str) -> Stored:
    """The same for a caller who may change it; others are told so before anything is said of their body."""
    stored, level = await _found(platform, caller, name)
    require(caller, stored, level, PermissionLevel.CAN_VIEW)
    if level is not PermissionLevel.CAN_MANAGE:
        # The right to update alone is no level; whether it is enough, the platform says when it comes to the write.
        may = await platform.callers.may(caller, Verb.UPDATE, stored.endpoint.metadata.name)
        require(caller, stored, PermissionLevel.CAN_MANAGE if may else level, PermissionLevel.CAN_MANAGE)
    return stored


async def require_create(platform: Platform, caller: Caller) -> None:
    """Tells who may not create endpoints so, before anything is said of the body and the secrets that it names.

    Raises `PermissionDenied`, `Away`.
    """
    if not await platform.callers.may(caller, Verb.CREATE):
        text = f"{caller.name} may not create serving endpoints in this workspace: ask its administrator for that right"
        raise PermissionDenied(text)


async def _found(platform: Platform, caller: Caller, name: str) -> tuple[Stored, PermissionLevel | None]:
    stored = await platform.endpoints.find(name)
    if stored is None:
        raise DoesNotExist(f"there is no serving endpoint {shown(name)}: see GET /api/2.0/serving-endpoints")
    return stored, await level_of(platform, caller, stored)


def require(caller: Caller, stored: Stored, level: PermissionLevel | None, wanted: PermissionLevel) -> None:
    """Raises `PermissionDenied`, unless `level` includes `wanted`."""
    if not includes(level, wanted):
        raise missing_level(caller, stored, wanted)


def missing_level(caller: Caller, stored: Stored, wanted: PermissionLevel, why: str = "") -> PermissionDenied:
    """What somebody is told who lacks `wanted`; `why`: the platform's own words."""
    name = stored.endpoint.endpoint_name
    text = f"{caller.name} lacks {wanted} on the serving endpoint {name}: ask who manages it for that permission"
    return PermissionDenied(f"{text} ({why})" if why else text)


def shown(name: str) -> str:
    """A name from a path as messages show it: short and without control characters."""
    text = "".join(c if c.isprintable() else "?" for c in name[:_SHOWN])
    return text + ("…" if len(name) > _SHOWN else "")
