"""Permissions on a secret scope: for each of Databricks' levels a Role on the scope's Secret, bound to principals.

Made with the caller's own rights on Roles and RoleBindings; both belong to the Secret and are deleted with it. A
principal is a user's name; `system:serviceaccount:NAMESPACE:NAME` is a ServiceAccount, `group:NAME` a group, and
`users` and `admins`, which are groups at Databricks, are groups here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from model_serving.api.names import account_user
from model_serving.api.policy import FORBIDDEN_PRINCIPALS
from model_serving.kube.client import Client
from model_serving.kube.errors import Conflict
from model_serving.kube.labels import MANAGED_BY_LABEL, MANAGEMENT
from model_serving.kube.resources import ROLE_BINDINGS, ROLES, Manifest, Resource
from model_serving.kube.subjects import RBAC_GROUP, Subject, group_subject, user_subject
from model_serving.kube.workspace.refusals import Deed, told
from model_serving.kube.workspace.secrets_client import SecretsClient
from model_serving.stores import Caller, Permission, Refused, Scope, Unknown

_GROUP = "group:"
_GROUPS = ("users", "admins")
_EVERYBODY = ("system:authenticated", *FORBIDDEN_PRINCIPALS)
_ATTEMPTS = 5
_LONGEST_NAME = 253

VERBS = {
    Permission.READ: ["get"],
    Permission.WRITE: ["get", "update", "patch"],
    Permission.MANAGE: ["get", "update", "patch", "delete"],
}


class ScopeAcls:
    """The permissions on the scopes of a namespace."""

    def __init__(self, secrets: SecretsClient) -> None:
        self._secrets = secrets

    async def all(self, caller: Caller, scope: Scope) -> Mapping[str, Permission]:
        """By principal; the highest, should somebody have two."""
        found: dict[str, Permission] = {}
        with told(self._deed(caller, "get", scope)):
            client = self._secrets.acting(caller)
            for level in Permission:
                binding = await client.find(ROLE_BINDINGS, self._secrets.namespace, _name(scope, level))
                found |= {_principal(s): level for s in (binding or {}).get("subjects") or []}
        return found

    async def set(self, caller: Caller, scope: Scope, principal: str, permission: Permission | None) -> None:
        """Gives first, then takes the others away, so that nobody is without in between."""
        subject = _subject(principal)
        with told(self._deed(caller, "update", scope)):
            client = self._secrets.acting(caller)
            if permission is not None:
                secret = await self._secrets.find(caller, scope.object_name)
                if secret is None:
                    raise Unknown(f"there is no secret scope {scope.name}")
                await self._give(client, scope, permission, subject, secret)
            for level in Permission:
                if level is not permission:
                    await self._take(client, scope, level, subject)

    async def _give(self, client: Client, scope: Scope, level: Permission, subject: Subject, secret: Manifest) -> None:
        name, namespace = _name(scope, level), self._secrets.namespace
        rule = {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [scope.object_name],
            "verbs": VERBS[level],
        }
        owner = {"apiVersion": "v1", "kind": "Secret", "name": scope.object_name, "uid": secret["metadata"]["uid"]}
        role = {**_object(ROLES, name, namespace, owner), "rules": [rule]}
        binding = {
            **_object(ROLE_BINDINGS, name, namespace, owner),
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "Role", "name": name},
        }
        await _put(client, role)
        for attempt in range(_ATTEMPTS):
            found = await client.find(ROLE_BINDINGS, namespace, name)
            subjects = (found or {}).get("subjects") or []
            if subject in subjects and _owner(found) == owner["uid"]:
                return
            # Those of a deleted scope of that name are not taken over.
            kept = subjects if _owner(found) == owner["uid"] else []
            wanted = {**binding, "subjects": [*(s for s in kept if s != subject), subject]}
            if await _write(client, found, wanted, last=attempt == _ATTEMPTS - 1):
                return

    async def _take(self, client: Client, scope: Scope, level: Permission, subject: Subject) -> None:
        for attempt in range(_ATTEMPTS):
            found = await client.find(ROLE_BINDINGS, self._secrets.namespace, _name(scope, level))
            subjects = (found or {}).get("subjects") or []
            if found is None or subject not in subjects:
                return
            wanted = {**found, "subjects": [s for s in subjects if s != subject]}
            if await _write(client, found, wanted, last=attempt == _ATTEMPTS - 1):
                return

    def _deed(self, caller: Caller, verb: str, scope: Scope) -> Deed:
        plural = "roles and rolebindings"
        return Deed(
            caller.name, verb, f"the permissions of the secret scope {scope.name}", plural, self._secrets.namespace
        )


def _subject(principal: str) -> Subject:
    name = principal.removeprefix(_GROUP)
    if name in _EVERYBODY:
        raise Refused(f"principal: {name} would be everybody: name a user, a group or a ServiceAccount")
    if name != principal or name in _GROUPS:
        return group_subject(name)
    return user_subject(name)


def _principal(subject: Mapping[str, str]) -> str:
    name = subject.get("name", "")
    match subject.get("kind"):
        case "ServiceAccount":
            return account_user(subject.get("namespace", ""), name)
        case "Group" if name not in _GROUPS:
            return _GROUP + name
    return name


def _object(resource: Resource, name: str, namespace: str, owner: Mapping[str, str]) -> Manifest:
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {MANAGED_BY_LABEL: MANAGEMENT},
        "ownerReferences": [dict(owner)],
    }
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _owner(found: Manifest | None) -> str:
    references = (found or {}).get("metadata", {}).get("ownerReferences") or [{}]
    return str(references[0].get("uid", ""))


def _name(scope: Scope, level: Permission) -> str:
    name, suffix = scope.object_name, f"-scope-{level.lower()}"
    if len(name) + len(suffix) <= _LONGEST_NAME:
        return name + suffix
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{name[: _LONGEST_NAME - len(suffix) - 11].rstrip('-.')}-{digest}{suffix}"


async def _put(client: Client, wanted: Manifest) -> None:
    """Makes it, or makes what is there the same."""
    meta = wanted["metadata"]
    found = await client.find(ROLES, meta["namespace"], meta["name"])
    if found is None:
        try:
            await client.create(wanted, manager=MANAGEMENT)
            return
        except Conflict as error:
            if not error.already_exists:
                raise
    elif found.get("rules") == wanted["rules"] and _owner(found) == _owner(wanted):
        return
    await client.replace(wanted, manager=MANAGEMENT)


async def _write(client: Client, found: Manifest | None, wanted: Manifest, *, last: bool) -> bool:
    """One attempt at a RoleBinding; False when somebody else wrote first. The last attempt raises `Conflict`."""
    try:
        if found is None:
            await client.create(wanted, manager=MANAGEMENT)
        else:
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            await client.replace({**wanted, "metadata": {**wanted["metadata"], **version}}, manager=MANAGEMENT)
    except Conflict:
        if last:
            raise
        return False
    return True
