"""The issuers that an endpoint's policy was given before: they stay in force while keys cannot be read after a restart.

Called by the reconciler.
"""

from __future__ import annotations

import msgspec

from model_serving.controller.desired.config_map import POLICY_FILE, POLICY_SUFFIX
from model_serving.controller.desired.owner import Owner
from model_serving.kube.client import Client
from model_serving.kube.resources import CONFIG_MAPS
from model_serving.proxy_config import Issuer, Policy


async def recorded_issuers(client: Client, owner: Owner) -> list[Issuer]:
    """The issuers that an endpoint's own policy was last given. Nobody else's is believed: who may write the policy of
    one namespace must not choose the keys of another."""
    found = await client.find(CONFIG_MAPS, owner.namespace, f"{owner.name}-{POLICY_SUFFIX}")
    references = found["metadata"].get("ownerReferences") or [] if found is not None else []
    if found is None or not any(reference.get("uid") == owner.uid for reference in references):
        return []
    try:
        return msgspec.json.decode((found.get("data") or {}).get(POLICY_FILE, ""), type=Policy).issuers
    except (ValueError, RecursionError):
        return []
