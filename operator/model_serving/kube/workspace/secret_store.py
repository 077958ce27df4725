"""Secret scopes, their permissions and the Secrets of endpoints behind the port that management uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model_serving.kube.client import Client
from model_serving.kube.workspace.owned_secrets import OwnedSecrets
from model_serving.kube.workspace.scope_acls import ScopeAcls
from model_serving.kube.workspace.scopes import Scopes
from model_serving.kube.workspace.secrets_client import SecretsClient
from model_serving.stores import Caller, Permission, Scope, Stored


class KubeSecrets:
    """`stores.Secrets`. The workspace has no right on Secrets: all is done with the caller's token."""

    def __init__(self, client: Client, namespace: str) -> None:
        secrets = SecretsClient(client, namespace)
        self._scopes = Scopes(secrets)
        self._acls = ScopeAcls(secrets)
        self._owned = OwnedSecrets(secrets)

    async def scopes(self, caller: Caller) -> Sequence[Scope]:
        """By label."""
        return await self._scopes.all(caller)

    async def scope(self, caller: Caller, name: str) -> Scope | None:
        """By name."""
        return await self._scopes.find(caller, name)

    async def create_scope(self, caller: Caller, name: str) -> Scope:
        """An empty Secret."""
        return await self._scopes.create(caller, name)

    async def delete_scope(self, caller: Caller, scope: Scope) -> None:
        """The Secret."""
        await self._scopes.delete(caller, scope)

    async def put(self, caller: Caller, scope: Scope, key: str, value: bytes) -> None:
        """A key of the Secret."""
        await self._scopes.put(caller, scope, key, value)

    async def delete(self, caller: Caller, scope: Scope, key: str) -> None:
        """A key of the Secret."""
        await self._scopes.remove(caller, scope, key)

    async def acls(self, caller: Caller, scope: Scope) -> Mapping[str, Permission]:
        """Out of RoleBindings."""
        return await self._acls.all(caller, scope)

    async def set_acl(self, caller: Caller, scope: Scope, principal: str, permission: Permission | None) -> None:
        """Into Roles and RoleBindings."""
        await self._acls.set(caller, scope, principal, permission)

    async def owned(self, caller: Caller, object_name: str) -> Mapping[str, bytes]:
        """Out of the endpoint's Secret."""
        return await self._owned.values(caller, object_name)

    async def write_owned(self, caller: Caller, object_name: str, values: Mapping[str, bytes | None]) -> None:
        """Into the endpoint's Secret."""
        await self._owned.write(caller, object_name, values)

    async def adopt(self, caller: Caller, object_name: str, owner: Stored) -> None:
        """The owner of the endpoint's Secret."""
        await self._owned.adopt(caller, object_name, owner)
