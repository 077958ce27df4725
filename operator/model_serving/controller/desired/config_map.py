"""The ConfigMaps of an endpoint: one immutable per revision, and the policy that changes in place."""

from __future__ import annotations

import msgspec

from model_serving.controller.desired.owner import Owner, child
from model_serving.kube.resources import CONFIG_MAPS, Manifest
from model_serving.proxy_config import Policy, ProxyConfig

CONFIG_FILE = "config.json"
POLICY_FILE = "policy.json"
POLICY_SUFFIX = "policy"


def config_suffix(revision: str) -> str:
    """What a revision's ConfigMap is called after the endpoint's name."""
    return f"config-{revision}"


def config_map(owner: Owner, config: ProxyConfig) -> Manifest:
    """What a revision's proxies serve. Its name holds the revision's hash, because a kubelet may hold on to the content
    of an immutable ConfigMap for as long as the name is the same."""
    body = {"immutable": True, "data": {CONFIG_FILE: _text(config)}}
    return child(owner, CONFIG_MAPS, body, suffix=config_suffix(config.revision))


def policy_map(owner: Owner, policy: Policy) -> Manifest:
    """Limits and access, mounted by the proxies of every revision."""
    return child(owner, CONFIG_MAPS, {"data": {POLICY_FILE: _text(policy)}}, suffix=POLICY_SUFFIX)


def _text(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1).decode()
