"""Asks the API server who the owner of a bearer token is: a SelfSubjectReview with that very token.

For tokens that cannot be verified offline; used by the router's feed and by management.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_serving.kube.client import Client
from model_serving.kube.errors import Unauthorized
from model_serving.kube.resources import SELF_SUBJECT_REVIEWS

ANONYMOUS = "system:anonymous"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A caller by the API server's word."""

    name: str
    groups: frozenset[str] = frozenset()


async def review(client: Client, token: str) -> Reviewed | None:
    """The owner of `token`; None when the API server does not know it. Raises `KubeError` when it cannot say."""
    wanted = {
        "apiVersion": SELF_SUBJECT_REVIEWS.api_version,
        "kind": SELF_SUBJECT_REVIEWS.kind,
        "metadata": {},
    }
    try:
        answer = await client.acting_as(token).create(wanted)
    except Unauthorized:
        return None
    user = (answer.get("status") or {}).get("userInfo") or {}
    name = user.get("username")
    if not isinstance(name, str) or not name or name == ANONYMOUS:
        return None
    return Reviewed(name, frozenset(str(group) for group in user.get("groups") or []))
