"""Who may query: the decision over a policy's grants. Pure; compiled once per policy."""

from __future__ import annotations

from collections.abc import Iterable

from model_serving.proxy.auth import Principal
from model_serving.proxy.errors import PermissionDenied
from model_serving.proxy_config import Grant

QUERYING = frozenset(("CAN_QUERY", "CAN_MANAGE"))
"""Levels that allow querying; CAN_VIEW does not."""


class Access:
    """The principals that may query an endpoint."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        granted = [grant for grant in grants if grant.level in QUERYING]
        self._users = frozenset(grant.name for grant in granted if grant.kind == "user")
        self._groups = frozenset(grant.name for grant in granted if grant.kind == "group")

    def allows(self, principal: Principal) -> bool:
        """Whether `principal` or one of its groups may query."""
        return principal.name in self._users or not self._groups.isdisjoint(principal.groups)

    def require_query(self, principal: Principal, endpoint: str) -> None:
        """PermissionDenied unless `principal` may query."""
        if not self.allows(principal):
            raise PermissionDenied(
                f"{principal.name} may not query endpoint {endpoint}: this needs CAN_QUERY, granted in its access list"
            )
