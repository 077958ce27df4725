"""Whom a RoleBinding gives its Role, in RBAC's words. Used for `spec.access` (`controller/`) and for scopes."""

from __future__ import annotations

from model_serving.api.names import ACCOUNT_PREFIX

RBAC_GROUP = "rbac.authorization.k8s.io"

Subject = dict[str, str]


def user_subject(name: str) -> Subject:
    """Who authenticates as the user `name`: a ServiceAccount does so too."""
    namespace, _, account = name.removeprefix(ACCOUNT_PREFIX).partition(":")
    if name.startswith(ACCOUNT_PREFIX) and namespace and account:
        return account_subject(namespace, account)
    return {"apiGroup": RBAC_GROUP, "kind": "User", "name": name}


def account_subject(namespace: str, name: str) -> Subject:
    """A ServiceAccount."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def group_subject(name: str) -> Subject:
    """All members of a group."""
    return {"apiGroup": RBAC_GROUP, "kind": "Group", "name": name}
