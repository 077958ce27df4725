"""The audiences that the API server's own tokens are meant for, as far as they can be known. Pure.

Nothing publishes them. The token that Kubernetes mounts into every pod says them: it is meant for the API server alone.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode

from model_serving.kube.issuers.settings import AUDIENCE

_MOST = 8


def audiences(own_token: str) -> list[str]:
    """What a ServiceAccount's token may be meant for to count at the router: for `model-serving`, or for whatever
    `own_token` is meant for, with which the pod talks to the API server; nothing of a token that says nothing."""
    return [AUDIENCE, *(name for name in _of(own_token) if name != AUDIENCE)]


def _of(token: str) -> list[str]:
    parts = token.split(".")
    if len(parts) != 3:
        return []
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return []
    named = claims.get("aud") if isinstance(claims, dict) else None
    listed = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return [name for name in listed if isinstance(name, str) and name][:_MOST]
