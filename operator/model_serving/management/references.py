"""Where the keys of a config come from: `{{secrets/…}}` is checked with the caller's right, plaintext gets a place.

Called by `endpoints.py` and `updates.py` before anything is written. A key in plain text is kept in a Secret that the
endpoint owns, each value under a name of its own, so that every config version keeps the value that it was made with.
"""

from __future__ import annotations

import secrets as randomness
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from model_serving.api.config import EndpointConfig
from model_serving.api.endpoint import secret_refs
from model_serving.api.names import kept_keys_name
from model_serving.api.types import SecretRef
from model_serving.management.call import Call
from model_serving.management.convert.draft import Draft, Plaintext, SecretUse
from model_serving.management.convert.problems import respelt
from model_serving.management.errors import InvalidParameter, PermissionDenied
from model_serving.stores import Denied, StoreError


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a draft's secrets became: a reference for each path, and the keys that have to be written first."""

    refs: Mapping[str, Mapping[str, str]]
    new: Mapping[str, bytes] = field(default_factory=dict, repr=False)


async def resolve(call: Call, object_name: str, draft: Draft, current: EndpointConfig | None = None) -> Resolved:
    """References for all secrets of `draft`; a plaintext that `current` has already keeps its place.

    Writes nothing. Raises `InvalidParameter` for a secret that is missing or may not be read.
    """
    kept_name = kept_keys_name(object_name)
    named = keys_in(kept_name, (current,)) if current else set()
    plain = any(isinstance(each, Plaintext) for each in draft.secrets)
    kept = await kept_keys(call, kept_name) if plain else {}
    refs: dict[str, Mapping[str, str]] = {}
    new: dict[str, bytes] = {}
    for secret in draft.secrets:
        if isinstance(secret, SecretUse):
            refs[secret.path] = await _scope_ref(call, secret)
            continue
        value = secret.value.encode()
        field_name = secret.path.rpartition(".")[2]
        # Only what the present config names is surely not being cleared away by somebody else's update.
        same = (key for key in sorted(named) if key.startswith(f"{field_name}-") and kept.get(key) == value)
        key = next(same, None) or f"{field_name}-{randomness.token_hex(4)}"
        if key not in kept:
            new[key] = value
        refs[secret.path] = {"name": kept_name, "key": key}
    return Resolved(refs, new)


async def check_refs(call: Call, object_name: str, config: EndpointConfig) -> None:
    """That every reference of a config of old still has its key, and that the caller may read it."""
    kept_name = kept_keys_name(object_name)
    refs = secret_refs(config)
    kept = await kept_keys(call, kept_name) if any(_is_kept(ref, kept_name) for _, ref in refs) else {}
    for path, ref in ((f"config.{respelt(path)}", ref) for path, ref in refs):
        if not _is_kept(ref, kept_name):
            await _require_same(call, SecretUse(path, ref.scope or ref.name, ref.key), ref)
        elif ref.key not in kept:
            raise InvalidParameter(
                f"{path}: the key that this version was given in plain text is gone: "
                "send the config again, with the key"
            )


async def _require_same(call: Call, use: SecretUse, ref: SecretRef) -> None:
    """That the caller may read what `ref` names: by now another Secret may have the scope's name."""
    found = await _scope_ref(call, use)
    if found["name"] != ref.name:
        raise InvalidParameter(
            f"{use.path}: the secret scope {use.scope} is not the one that this version was made with: "
            "send the config again, with the scope that is there now"
        )


async def _scope_ref(call: Call, use: SecretUse) -> dict[str, str]:
    """The reference behind `{{secrets/SCOPE/KEY}}`."""
    try:
        scope = await call.platform.secrets.scope(call.caller, use.scope)
    except Denied:
        raise InvalidParameter(
            f"{use.path}: {call.caller.name} may not read key {use.key} of the secret scope {use.scope}: "
            "ask its owner for READ"
        ) from None
    if scope is None:
        raise InvalidParameter(
            f"{use.path}: there is no secret scope {use.scope} (key {use.key}): create it with "
            "POST /api/2.0/secrets/scopes/create"
        )
    if use.key not in scope.keys:
        raise InvalidParameter(
            f"{use.path}: the secret scope {use.scope} has no key {use.key}: put it there with "
            "POST /api/2.0/secrets/put"
        )
    return {"name": scope.object_name, "key": use.key, "scope": use.scope}


async def kept_keys(call: Call, kept_name: str) -> Mapping[str, bytes]:
    """The values that the endpoint's own Secret holds. `PermissionDenied` for a caller who may not read them."""
    try:
        return await call.platform.secrets.owned(call.caller, kept_name)
    except Denied as error:
        raise PermissionDenied(
            f"{call.caller.name} may not read the Secret {kept_name}, which keeps keys that are sent in plain text "
            f"({error.message}): ask for that right, or name a secret as {{{{secrets/SCOPE/KEY}}}}"
        ) from None


def keys_in(kept_name: str, configs: Iterable[Any]) -> set[str]:
    """The keys of the Secret `kept_name` that configs name."""
    return {ref.key for config in configs for _, ref in secret_refs(config) if _is_kept(ref, kept_name)}


def _is_kept(ref: SecretRef, kept_name: str) -> bool:
    """Whether it names a key of the endpoint's own Secret; a scope may be called as that is."""
    return ref.name == kept_name and ref.scope is None


async def unused(call: Call, kept_name: str, configs: Iterable[Any]) -> dict[str, None]:
    """The keys of the endpoint's Secret that none of `configs` names, each to be removed; none if it cannot be read."""
    try:
        kept = await call.platform.secrets.owned(call.caller, kept_name)
    except StoreError:
        return {}
    return dict.fromkeys(sorted(set(kept) - keys_in(kept_name, configs)))
