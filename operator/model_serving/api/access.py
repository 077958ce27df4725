"""Who may do what with one endpoint, by its creator and `spec.access`. Pure; for REST and the local platform.

The proxy decides about queries with the same list, compiled into grants (`lifecycle/proxy_config.py`).
"""

from __future__ import annotations

from collections.abc import Collection

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import CREATOR_ANNOTATION, account_user
from model_serving.api.policy import AccessEntry, PermissionLevel, PrincipalKind

_ORDER = (PermissionLevel.CAN_VIEW, PermissionLevel.CAN_QUERY, PermissionLevel.CAN_MANAGE)


def level_given(endpoint: ServingEndpoint, name: str, groups: Collection[str]) -> PermissionLevel | None:
    """The highest level of the principal `name` and its groups; None for no level. The creator may manage.

    A ServiceAccount is called `system:serviceaccount:NAMESPACE:NAME`.
    """
    if name and name == endpoint.metadata.annotations.get(CREATOR_ANNOTATION):
        return PermissionLevel.CAN_MANAGE
    namespace = endpoint.metadata.namespace
    given = [entry.permission_level for entry in endpoint.spec.access or [] if _means(entry, namespace, name, groups)]
    return max(given, key=_ORDER.index, default=None)


def includes(level: PermissionLevel | None, wanted: PermissionLevel) -> bool:
    """Whether whoever has `level` may do what `wanted` allows."""
    return level is not None and _ORDER.index(level) >= _ORDER.index(wanted)


def principal_name(entry: AccessEntry, namespace: str) -> str:
    """The name by which callers are known that `entry`, of an endpoint in `namespace`, means."""
    if entry.kind is PrincipalKind.SERVICE_ACCOUNT:
        return account_user(entry.namespace or namespace, entry.name)
    return entry.name


def _means(entry: AccessEntry, namespace: str, name: str, groups: Collection[str]) -> bool:
    if entry.kind is PrincipalKind.GROUP:
        return entry.name in groups
    return principal_name(entry, namespace) == name
