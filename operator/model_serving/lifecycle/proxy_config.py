"""What the proxies are told: builds the data plane's files from the resource. Called by `decide` and the platforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import structs, to_builtins

from model_serving import proxy_config as contract
from model_serving.api.access import principal_name
from model_serving.api.base import Model
from model_serving.api.conditions import Reason
from model_serving.api.config import ServedEntity
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import CREATOR_ANNOTATION, account_user
from model_serving.api.policy import AccessEntry, PermissionLevel, PrincipalKind, RateLimit
from model_serving.api.types import SecretRef, WorkloadIdentity
from model_serving.lifecycle.observed import Finding
from model_serving.lifecycle.revision import Revision, digest

WORKSPACE = "model-serving-workspace"
"""The ServiceAccount of a namespace's front door, whose principal headers proxies believe."""
_LONGEST_REQUEST = 300
"""Seconds; the default of the platforms' setting."""
_LAST_WORDS = 3
"""Seconds between the end of the longest call and the end of the patience of a proxy that is being stopped."""


def build_proxy_config(revision: Revision) -> contract.ProxyConfig:
    """The immutable config of one revision."""
    config = revision.parsed_config
    weights = {route.served_entity_name: route.traffic_percentage for route in config.routes}
    longest = float(revision.shape.platform.get("maxRequestSeconds", _LONGEST_REQUEST))
    return contract.ProxyConfig(
        endpoint=revision.endpoint,
        config_version=revision.config_version,
        revision=revision.name,
        targets=[_target(entity, weights.get(entity.name, 0)) for entity in config.served_entities],
        request_timeout_seconds=max(longest - _LAST_WORDS, 1.0),
        upstream_ca=upstream_ca(revision),
    )


def _target(entity: ServedEntity, weight: int) -> contract.Target:
    model = entity.external_model
    if model is None:
        raise ValueError(f"served entity {entity.name}: foundation models have no target yet")
    settings: dict[str, str] = {}
    credentials: dict[str, contract.CredentialFile] = {}
    _flatten(model.block, settings, credentials)
    return contract.Target(
        entity=entity.name,
        provider=str(model.provider),
        task=str(model.task),
        model=model.name,
        weight=weight,
        settings=settings,
        credentials=credentials,
    )


def _flatten(block: Model, settings: dict[str, str], credentials: dict[str, contract.CredentialFile]) -> None:
    for name in type(block).model_fields:
        value: Any = getattr(block, name)
        if isinstance(value, SecretRef):
            credentials[credential_name(name)] = contract.CredentialFile(secret=value.name, key=value.key)
        elif isinstance(value, WorkloadIdentity):
            settings[name] = "true"  # it has no fields of its own
        elif isinstance(value, Model):
            _flatten(value, settings, credentials)
        elif value is not None:
            settings[name] = str(value)


def credential_name(field: str) -> str:
    """Databricks' name of a credential: `openai_api_key_secret_ref` → `openai_api_key`.

    A client secret keeps its own "secret": `microsoft_entra_client_secret_ref` → `microsoft_entra_client_secret`.
    """
    return field.removesuffix("_ref") if field.endswith("client_secret_ref") else field.removesuffix("_secret_ref")


def secret_files(revision: Revision) -> dict[str, tuple[str, ...]]:
    """The Secrets that a revision's proxies mount, each with the keys that are named; certificates' included."""
    keys: dict[str, set[str]] = {}
    for target in build_proxy_config(revision).targets:
        for file in target.credentials.values():
            keys.setdefault(file.secret, set()).add(file.key)
    if authorities := upstream_ca(revision):
        keys.setdefault(authorities.secret, set()).add(authorities.key)
    if certificate := tls_secret(revision):
        keys.setdefault(certificate, set()).update((contract.TLS_CERTIFICATE, contract.TLS_KEY))
    return {secret: tuple(sorted(found)) for secret, found in sorted(keys.items())}


def identity_providers(revision: Revision) -> set[str]:
    """The providers that a revision's proxies call with their pod's own identity."""
    return {
        target.provider for target in build_proxy_config(revision).targets if "workload_identity" in target.settings
    }


def tls_secret(revision: Revision) -> str:
    """The Secret with the certificate of a revision's data port; empty for plain HTTP."""
    return str(revision.shape.proxy.get("tls", ""))


def upstream_ca(revision: Revision) -> contract.CredentialFile | None:
    """Where the certificates lie of authorities that vouch for a revision's upstreams; None: the usual ones do."""
    asked = revision.shape.proxy.get("upstreamCa")
    return contract.CredentialFile(asked["secretName"], asked["key"]) if asked else None


def authorities_of(endpoint: ServingEndpoint) -> dict[str, str]:
    """What a shape's proxy part holds as `upstreamCa`; empty: nothing."""
    asked = endpoint.spec.proxy.upstream_ca
    return {"secretName": asked.secret_name, "key": asked.key} if asked else {}


def build_policy(
    endpoint: ServingEndpoint,
    replicas: int,
    leave: str,
    *,
    issuers: Sequence[contract.Issuer] = (),
    limits_store: str = "",
) -> contract.Policy:
    """The live policy: limits and how many proxies share them, grants, callable hosts, whose tokens count."""
    limits = [
        contract.Limit(str(limit.key), limit.calls, limit.tokens, limit.principal or "")
        for limit in all_limits(endpoint)
    ]
    store = contract.LimitsStore(limits_store, endpoint.databricks_id) if limits_store and limits else None
    policy = contract.Policy(
        version="",
        limits=limits,
        limits_parts=replicas if limits else 1,
        limits_store=store,
        grants=grants_of(endpoint),
        upstream_leave=leave,
        issuers=list(issuers),
        router=account_user(endpoint.metadata.namespace, WORKSPACE) if issuers else "",
    )
    return structs.replace(policy, version=digest(to_builtins(policy)))


def all_limits(endpoint: ServingEndpoint) -> list[RateLimit]:
    """Limits of both sources: the legacy list and the AI gateway block; both are enforced."""
    gateway = endpoint.spec.ai_gateway
    return [*(endpoint.spec.rate_limits or []), *((gateway.rate_limits or []) if gateway else [])]


def share(amount: int, replicas: int) -> int:
    """What one of `replicas` may grant of `amount`, so that all together never exceed it."""
    return amount // max(replicas, 1)


def unshareable_limits(endpoint: ServingEndpoint, replicas: int) -> Finding | None:
    """A limit above 0 that is smaller than the number of replicas would block everything: it is refused."""
    gateway = endpoint.spec.ai_gateway
    sources = {
        "spec.rateLimits": endpoint.spec.rate_limits,
        "spec.aiGateway.rateLimits": gateway and gateway.rate_limits,
    }
    for field, limit in ((field, limit) for field, limits in sources.items() for limit in limits or []):
        for amount in (limit.calls, limit.tokens):
            if amount and share(amount, replicas) == 0:
                return Finding(
                    Reason.INVALID_SPEC,
                    f"{field}: a limit of {amount} per minute cannot be shared among {replicas} replicas: "
                    f"raise it to at least {replicas}, or lower proxy.replicas",
                )
    return None


def max_replicas(endpoint: ServingEndpoint) -> int:
    """The largest number of proxies that the endpoint may have."""
    proxy = endpoint.spec.proxy
    return proxy.autoscaling.max_replicas if proxy.autoscaling else proxy.replicas


def grants_of(endpoint: ServingEndpoint) -> list[contract.Grant]:
    """Who has which level: `spec.access` and the creator, in one order."""
    creator = endpoint.metadata.annotations.get(CREATOR_ANNOTATION, "")
    grants = [_grant(entry, endpoint.metadata.namespace) for entry in endpoint.spec.access or []]
    if creator:
        grants.append(contract.Grant(kind="user", name=creator, level=str(PermissionLevel.CAN_MANAGE)))
    return sorted(grants, key=lambda g: (g.kind, g.name, g.level))


def _grant(entry: AccessEntry, namespace: str) -> contract.Grant:
    kind = "group" if entry.kind is PrincipalKind.GROUP else "user"
    return contract.Grant(kind=kind, name=principal_name(entry, namespace), level=str(entry.permission_level))


def nobody_may_call(endpoint: ServingEndpoint) -> bool:
    """Whether every call would be refused for want of a grant."""
    return all(g.level == PermissionLevel.CAN_VIEW for g in grants_of(endpoint))
