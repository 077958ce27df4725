"""Roles on one endpoint object: what `spec.access` says, for kubectl too.

The operator holds exactly the verbs that it grants here, and neither `bind` nor `escalate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from model_serving.api.endpoint import GROUP, PLURAL, ServingEndpoint
from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.api.policy import FORBIDDEN_PRINCIPALS, AccessEntry, PermissionLevel, PrincipalKind
from model_serving.controller.desired.owner import Owner, child
from model_serving.kube.resources import ROLE_BINDINGS, ROLES, Manifest
from model_serving.kube.subjects import RBAC_GROUP, Subject, account_subject, group_subject, user_subject

VIEWER, MANAGER = "viewer", "manager"
_VERBS = {VIEWER: ["get"], MANAGER: ["get", "update", "patch", "delete"]}


def roles(owner: Owner, endpoint: ServingEndpoint) -> list[Manifest]:
    """A Role and its RoleBinding for viewers, and a pair for managers; none for nobody."""
    entries = endpoint.spec.access or []
    managers = [_subject(e, owner) for e in entries if e.permission_level is PermissionLevel.CAN_MANAGE]
    creator = endpoint.metadata.annotations.get(CREATOR_ANNOTATION, "")
    if creator and creator not in FORBIDDEN_PRINCIPALS:
        managers.append(user_subject(creator))
    viewers = [_subject(e, owner) for e in entries if e.permission_level is not PermissionLevel.CAN_MANAGE]
    return [
        manifest
        for suffix, subjects in ((VIEWER, viewers), (MANAGER, managers))
        if subjects
        for manifest in (_role(owner, suffix), _role_binding(owner, suffix, subjects))
    ]


def _role(owner: Owner, suffix: str) -> Manifest:
    rule = {"apiGroups": [GROUP], "resources": [PLURAL], "resourceNames": [owner.name], "verbs": _VERBS[suffix]}
    return child(owner, ROLES, {"rules": [rule]}, suffix=suffix)


def _role_binding(owner: Owner, suffix: str, subjects: Iterable[Subject]) -> Manifest:
    unique = {tuple(sorted(s.items())): s for s in subjects}
    body: dict[str, Any] = {
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "Role", "name": f"{owner.name}-{suffix}"},
        "subjects": [unique[key] for key in sorted(unique)],
    }
    return child(owner, ROLE_BINDINGS, body, suffix=suffix)


def _subject(entry: AccessEntry, owner: Owner) -> Subject:
    if entry.kind is PrincipalKind.SERVICE_ACCOUNT:
        return account_subject(entry.namespace or owner.namespace, entry.name)
    if entry.kind is PrincipalKind.GROUP:
        return group_subject(entry.name)
    return user_subject(entry.name)
