"""Updates of an endpoint's config: put, cancel, retry, roll back, and their history. Called through `operations.py`.

Whatever asks for a config goes one way (`_change_config`): secrets are checked with the caller's right, keys in plain
text are written before the config that names them, and keys that no kept version needs are removed after it.
"""

from __future__ import annotations

import secrets as randomness
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from model_serving.api.config import EndpointConfig
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.lock import config_lock, unobserved
from model_serving.api.names import CANCEL_ANNOTATION, RETRY_ANNOTATION, kept_keys_name
from model_serving.api.status import ConfigUpdateState
from model_serving.api.validation import check_update
from model_serving.management.access import changeable, readable
from model_serving.management.call import Call, Operation
from model_serving.management.convert.draft import draft_config, filled
from model_serving.management.convert.history import history_body, version_config
from model_serving.management.convert.problems import rest_problems
from model_serving.management.endpoints import ENDPOINT
from model_serving.management.errors import Conflict, DoesNotExist, InvalidParameter
from model_serving.management.references import check_refs, keys_in, resolve, unused
from model_serving.management.writing import (
    ATTEMPTS,
    annotated,
    busy,
    change,
    detailed,
    endpoint_of,
    forgive,
    replace,
    step_aside,
    warned,
    watched,
)
from model_serving.stores import Away, Changed, Locked, Stored

CONFIG = ENDPOINT + "/config"
_ENDED = (ConfigUpdateState.UPDATE_FAILED, ConfigUpdateState.UPDATE_CANCELED)


@dataclass(frozen=True, slots=True)
class Proposal:
    """An endpoint to write, and the keys that have to be written before it."""

    endpoint: ServingEndpoint
    new: Mapping[str, bytes] = field(default_factory=dict, repr=False)


Propose = Callable[[Stored], Awaitable[Proposal]]


async def update_config(call: Call) -> dict[str, Any]:
    """Replaces the config: a new version, unless it is the one that serves."""

    async def propose(stored: Stored) -> Proposal:
        endpoint = stored.endpoint
        draft = draft_config(call.body, endpoint.spec)
        resolved = await resolve(call, endpoint.metadata.name, draft, endpoint.spec.config)
        spec = endpoint_of({"name": endpoint.metadata.name}, filled(draft, resolved.refs)).spec
        return Proposal(endpoint.model_copy(update={"spec": spec}), resolved.new)

    return await _change_config(call, propose)


async def roll_back(call: Call) -> dict[str, Any]:
    """Asks for the config of a former version again: a new update."""

    async def propose(stored: Stored) -> Proposal:
        version = call.body.get("config_version")
        if isinstance(version, bool) or not isinstance(version, int):
            raise InvalidParameter("config_version: must be the number of a version, see GET …/config-history")
        config = version_config(stored, version)
        if config is None:
            known = sorted({revision.config_version for revision in stored.history})
            raise DoesNotExist(f"config_version: {call.name} keeps no version {version}, it keeps {known}")
        endpoint = stored.endpoint
        spec = endpoint_of({"name": endpoint.metadata.name}, {**endpoint.spec.written(), "config": config}).spec
        await check_refs(call, endpoint.metadata.name, spec.config)
        return Proposal(endpoint.model_copy(update={"spec": spec}))

    return await _change_config(call, propose)


async def _change_config(call: Call, propose: Propose) -> dict[str, Any]:
    """Attempts it until nobody wrote in between; waits once for the last change to be taken up."""
    patient = True
    for attempt in range(ATTEMPTS):
        stored = await changeable(call.platform, call.caller, call.name)
        gone = await _unneeded(call, stored)
        try:
            written = await _write(call, stored, _checked(call, stored, await propose(stored)))
        except Changed:
            await step_aside(attempt)
            continue
        except Locked:
            if not patient or not unobserved(stored.endpoint):
                raise _locked(stored) from None
            patient = False
            await _taken_up(call, stored)
            continue
        await _tidy(call, written, gone)
        return warned(written, await detailed(call, written))
    raise busy(call.name)


async def _taken_up(call: Call, stored: Stored) -> None:
    """Waits until the operator has seen the last change, or patience ends."""
    async for latest in watched(call, stored, call.patience.observed):
        if not unobserved(latest.endpoint):
            return


def _checked(call: Call, stored: Stored, proposal: Proposal) -> Proposal:
    """Raises `InvalidParameter` for what can never be, `Locked` for what cannot be now."""
    old, new = stored.endpoint, proposal.endpoint
    locked = config_lock(old, new)
    found = [p for p in check_update(old, new, call.platform.leave) if p.message != locked]
    if found:
        raise InvalidParameter(rest_problems(found))
    if locked:
        raise Locked(locked)
    return proposal


async def _write(call: Call, stored: Stored, proposal: Proposal) -> Stored:
    kept_name, secrets = kept_keys_name(stored.endpoint.metadata.name), call.platform.secrets
    if not proposal.new:
        return await replace(call, stored, proposal.endpoint)
    try:
        await secrets.write_owned(call.caller, kept_name, proposal.new)
        await secrets.adopt(call.caller, kept_name, stored)
        return await replace(call, stored, proposal.endpoint)
    except (Away, CancelledError):
        raise  # it may have been written all the same; keys that nothing names go with the next update
    except BaseException:
        undone = secrets.write_owned(call.caller, kept_name, dict.fromkeys(proposal.new))
        await forgive(call, "taking back keys", undone)
        raise


async def _unneeded(call: Call, stored: Stored) -> dict[str, None]:
    """The keys that no kept version names. Asked before the update is written: what others write after that is theirs.

    The present config counts as kept, for it may serve already and not stand in the history yet.
    """
    kept_name = kept_keys_name(stored.endpoint.metadata.name)
    return await unused(call, kept_name, _configs(stored))


async def _tidy(call: Call, written: Stored, unneeded: dict[str, None]) -> None:
    """Removes the keys that were not needed before this update, unless it asks for them."""
    kept_name = kept_keys_name(written.endpoint.metadata.name)
    gone = dict.fromkeys(set(unneeded) - keys_in(kept_name, _configs(written)))
    if gone:
        await forgive(call, "removing keys", call.platform.secrets.write_owned(call.caller, kept_name, gone))


def _configs(stored: Stored) -> list[EndpointConfig]:
    return [stored.endpoint.spec.config, *(revision.parsed_config for revision in stored.history)]


def _locked(stored: Stored) -> Conflict:
    name, status = stored.endpoint.endpoint_name, stored.endpoint.status
    if unobserved(stored.endpoint):
        return Conflict(
            f"the last change of the serving endpoint {name} has not been taken up yet, and one update runs at a time: "
            "wait until state.config_update is NOT_UPDATING; if it stays so, see whether the operator runs"
        )
    version = status.pending_config_version
    what = f"is being updated to config version {version}" if version else "is being updated"
    return Conflict(
        f"the serving endpoint {name} {what}, and one update runs at a time: wait until state.config_update is "
        f"NOT_UPDATING, or cancel it with POST /api/2.0/serving-endpoints/{name}/config:cancel"
    )


async def cancel_update(call: Call) -> dict[str, Any]:
    """Takes the pending version back; what serves goes on serving."""

    def edit(stored: Stored) -> ServingEndpoint:
        _require_pending(call.name, stored)
        meta = stored.endpoint.metadata
        word = str(meta.generation)
        while word == meta.annotations.get(CANCEL_ANNOTATION):
            word = f"0{word}"  # a word counts once: after a retry the same generation needs another spelling
        return annotated(stored, CANCEL_ANNOTATION, word)

    return await _seen_through(call, await change(call, edit), while_in=(ConfigUpdateState.IN_PROGRESS,))


def _require_pending(name: str, stored: Stored) -> None:
    if not stored.endpoint.status.config_version:
        raise InvalidParameter(
            f"name: the serving endpoint {name} starts for the first time, there is no version to go back to: "
            "update its config once that has failed, or delete it"
        )
    if not _pending(stored):
        raise InvalidParameter(f"name: no update of the serving endpoint {name} is pending, nothing can be cancelled")


def _pending(stored: Stored) -> bool:
    """Whether another version is on its way, or was asked for and is not yet taken up."""
    newest = max(stored.history, key=lambda r: (r.config_version, r.number), default=None)
    asked = stored.endpoint.spec.config.manifest()
    new = unobserved(stored.endpoint) and (newest is None or newest.config != asked)
    return new or stored.endpoint.status.pending_config_version is not None


async def retry_update(call: Call) -> dict[str, Any]:
    """Tries a failed or cancelled version again."""

    def edit(stored: Stored) -> ServingEndpoint:
        if stored.endpoint.status.state.config_update not in _ENDED:
            raise InvalidParameter(
                f"name: no update of the serving endpoint {call.name} has failed or was cancelled, "
                "nothing can be tried anew"
            )
        return annotated(stored, RETRY_ANNOTATION, randomness.token_hex(8))

    return await _seen_through(call, await change(call, edit), while_in=_ENDED)


async def _seen_through(call: Call, written: Stored, while_in: tuple[ConfigUpdateState, ...]) -> dict[str, Any]:
    """The endpoint once the operator has taken the word up, so that who polls does not read the state before it."""
    stored = written
    async for stored in watched(call, written, call.patience.observed):
        if not unobserved(stored.endpoint) and stored.endpoint.status.state.config_update not in while_in:
            break
    return warned(stored, await detailed(call, stored))


async def get_history(call: Call) -> dict[str, Any]:
    """The versions that are kept, newest first."""
    return history_body(await readable(call.platform, call.caller, call.name))


OPERATIONS = [
    Operation("PUT", CONFIG, update_config, "Replace an endpoint's config", "Config", "Endpoint"),
    Operation("GET", ENDPOINT + "/config-history", get_history, "List the versions of a config", response="History"),
    Operation("POST", CONFIG + ":cancel", cancel_update, "Cancel the update in progress", response="Endpoint"),
    Operation("POST", CONFIG + ":retry", retry_update, "Try a failed update again", response="Endpoint"),
    Operation("POST", CONFIG + ":rollback", roll_back, "Ask for a former config again", "Rollback", "Endpoint"),
]
