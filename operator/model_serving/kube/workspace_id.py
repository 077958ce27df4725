"""The number that clients see as the workspace's: the same from every replica, for as long as the namespace lives."""

from __future__ import annotations

import hashlib

from model_serving.kube.client import Client
from model_serving.kube.resources import NAMESPACES

_BITS = 53  # JavaScript and many JSON readers keep no larger number exact


def workspace_id(uid: str) -> str:
    """Digits that follow from the UID of the Namespace; never 0."""
    number = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8]) % 2**_BITS
    return str(number or 1)


async def read_workspace_id(client: Client, namespace: str) -> str:
    """The number of the workspace in `namespace`. Raises `KubeError`; needs the right to get that Namespace."""
    found = await client.get(NAMESPACES, None, namespace, metadata_only=True)
    return workspace_id(str(found["metadata"].get("uid", "")))
