"""Secrets with a caller's own token: read, written, and refused in words for that person. Used by `scopes.py`,
`scope_acls.py` and `owned_secrets.py`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from model_serving.kube.client import Client
from model_serving.kube.labels import MANAGEMENT
from model_serving.kube.resources import SECRETS, Manifest
from model_serving.kube.workspace.refusals import Deed
from model_serving.stores import Caller


class SecretsClient:
    """The Secrets of one namespace. Whatever it does can raise `KubeError`; `deed` says it in words."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    def acting(self, caller: Caller) -> Client:
        """A client with the caller's rights. Raises `Unauthorized`."""
        return self.client.acting_as(caller.token)

    async def find(self, caller: Caller, name: str) -> Manifest | None:
        """One Secret with its values."""
        return await self.acting(caller).find(SECRETS, self.namespace, name)

    async def create(self, caller: Caller, name: str, values: Mapping[str, bytes], **metadata: Any) -> Manifest:
        """Makes one. `Conflict` if there is one."""
        body: Manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "type": "Opaque",
            "data": encoded(values),
        }
        return await self.acting(caller).create(body, manager=MANAGEMENT)

    async def patch(self, caller: Caller, name: str, patch: Manifest) -> Manifest:
        """Merges into one. `NotFound`."""
        return await self.acting(caller).patch(SECRETS, self.namespace, name, patch, manager=MANAGEMENT)

    async def delete(self, caller: Caller, name: str, *, uid: str = "", version: str = "") -> None:
        """Deletes one, of that `uid` and resource `version` if given, else `Conflict`; that it is gone is fine."""
        await self.acting(caller).delete(SECRETS, self.namespace, name, uid=uid, version=version)

    def deed(self, caller: Caller, verb: str, what: str) -> Deed:
        """For the words of a refusal."""
        return Deed(caller.name, verb, what, "secrets", self.namespace)


def encoded(values: Mapping[str, bytes | None]) -> dict[str, str | None]:
    """As `data` of a Secret; None removes a key in a patch."""
    return {key: None if value is None else base64.b64encode(value).decode() for key, value in values.items()}


def decoded(data: Mapping[str, str]) -> dict[str, bytes]:
    """The values of `data`."""
    return {key: _decode(text) for key, text in data.items()}


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
