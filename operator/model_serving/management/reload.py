"""Asks the endpoints that use a secret to read it again at once. Called after a secret was written."""

from __future__ import annotations

import uuid

from model_serving.api.endpoint import ServingEndpoint, secret_refs
from model_serving.api.names import RELOAD_ANNOTATION
from model_serving.stores import Away, Caller, Changed, Platform, Stored, StoreError

_ATTEMPTS = 3


async def reload_users_of(platform: Platform, caller: Caller, secret: str, key: str) -> None:
    """Changes the reload annotation of each endpoint that names this key, with the caller's rights.

    At best: proxies notice by themselves a minute or two later, so a caller who may not change the endpoint, or a
    platform without an answer, is no reason to fail a write that is done. No config version comes of it.
    """
    try:
        for stored in await platform.endpoints.all():
            if _uses(stored.endpoint, secret, key):
                await _reload(platform, caller, stored)
    except Away:
        return


async def _reload(platform: Platform, caller: Caller, stored: Stored) -> None:
    """Away when the platform gives no answer; whatever else is in the way stays unsaid."""
    found: Stored | None = stored
    for _ in range(_ATTEMPTS):
        try:
            if found is not None:
                await platform.endpoints.replace(caller, found, _reloaded(found.endpoint))
            return
        except Changed:
            found = await platform.endpoints.find(stored.endpoint.endpoint_name)
        except Away:
            raise
        except StoreError:
            return


def _uses(endpoint: ServingEndpoint, secret: str, key: str) -> bool:
    return any((ref.name, ref.key) == (secret, key) for _, ref in secret_refs(endpoint.spec))


def _reloaded(endpoint: ServingEndpoint) -> ServingEndpoint:
    annotations = endpoint.metadata.annotations | {RELOAD_ANNOTATION: uuid.uuid4().hex}
    return endpoint.model_copy(update={"metadata": endpoint.metadata.model_copy(update={"annotations": annotations})})
