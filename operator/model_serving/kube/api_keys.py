"""API keys of a namespace: entries of one Secret, named by the key's digest. Called by `model-serving key create`,
with the rights of whoever runs it."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence

import msgspec

from model_serving.kube.client import Client
from model_serving.kube.errors import Conflict, NotFound
from model_serving.kube.resources import SECRETS
from model_serving.proxy_config import ApiKey

SECRET_NAME = "model-serving-api-keys"  # noqa: S105 (the name of an object)
_PREFIX = "msk-"


def is_namespace(text: str) -> bool:
    """Whether a namespace may be called so."""
    return re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text) is not None


def is_name(text: str) -> bool:
    """Whether a user or group may be called so: an empty name would be everybody's."""
    return bool(text) and text == text.strip() and text.isprintable()


def mint_key() -> str:
    """A new key: 256 random bits, with a prefix that scanners for leaked keys can look for."""
    return _PREFIX + secrets.token_urlsafe(32)


async def add_key(client: Client, namespace: str, key: str, principal: str, groups: Sequence[str]) -> None:
    """Makes `key` the key of `principal`. Only its digest is written. Raises `KubeError`."""
    entry = msgspec.json.encode(ApiKey(principal=principal, groups=list(groups)))
    data = {hashlib.sha256(key.encode()).hexdigest(): base64.b64encode(entry).decode()}
    try:
        await client.patch(SECRETS, namespace, SECRET_NAME, {"data": data})
    except NotFound:
        metadata = {"name": SECRET_NAME, "namespace": namespace}
        try:
            await client.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        except Conflict:
            # Somebody else made it in between.
            await client.patch(SECRETS, namespace, SECRET_NAME, {"data": data})
