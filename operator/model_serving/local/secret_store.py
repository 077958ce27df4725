"""Secret scopes, and the Secrets of endpoints, over the Secret files. A part of the platform that `platform.py` builds.

Admins may do everything, others what the permissions of a scope give them. A scope that a file declares is changed
there; whoever may manage it says here who else may use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from model_serving.api.access import includes, level_given
from model_serving.api.names import secret_names
from model_serving.api.policy import PermissionLevel
from model_serving.local.errors import saved
from model_serving.local.secret_files import read_secret, remove_secret, write_secret, write_times
from model_serving.local.secret_rows import SecretRow
from model_serving.local.store import Store
from model_serving.stores import Caller, Denied, Permission, Refused, Scope, Stored, Taken, Unknown

NAMESPACE = "default"
"""Of everything that is made through REST."""
LARGEST_SECRET = 1024 * 1024
_KEY = re.compile(r"[A-Za-z0-9_-][-._A-Za-z0-9]{0,252}")
_ORDER = tuple(Permission)


class LocalSecrets:
    """Rows of the store say which Secrets there are; their values are files below `folder`."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder

    async def scopes(self, caller: Caller) -> Sequence[Scope]:
        """The scopes that the caller may read, by name."""
        with saved("listing the scopes"):
            rows = [row for row in self._rows() if permits(row, caller, Permission.READ)]
            return sorted((self._scope(row) for row in rows), key=lambda scope: scope.name)

    async def scope(self, caller: Caller, name: str) -> Scope | None:
        """One scope by its Databricks name; None when there is none. `Denied`."""
        with saved(f"reading scope {name}"):
            row = next((row for row in self._rows() if row.scope == name), None)
            if row is None:
                return None
            self._require(row, caller, Permission.READ)
            return self._scope(row)

    async def create_scope(self, caller: Caller, name: str) -> Scope:
        """Makes an empty scope, which its creator manages. Needs an admin. `Taken`, `Denied`."""
        if not caller.admin:
            raise Denied(f"creating scope {name}: only admins create scopes here: ask one of them")
        with saved(f"creating scope {name}"):
            if any(row.scope == name for row in self._rows()):
                raise Taken(f"scope {name} exists already")
            keys = [(NAMESPACE, object_name) for object_name in secret_names(name)]
            free = next((key for key in keys if self._store.secrets.find(key) is None), None)
            if free is None:
                raise Taken(f"scope {name}: other Secrets have its names, {keys[0][1]} and {keys[1][1]}")
            row = SecretRow(free, scope=name, acls={caller.name: str(Permission.MANAGE)})
            write_secret(self._folder, free, {})
            self._store.secrets.write(row)
            return self._scope(row)

    async def delete_scope(self, caller: Caller, scope: Scope) -> None:
        """Removes the scope with all its keys."""
        with saved(f"deleting scope {scope.name}"):
            row = self._writable(scope, caller, Permission.MANAGE)
            remove_secret(self._folder, row.key)
            self._store.secrets.forget(row.key)

    async def put(self, caller: Caller, scope: Scope, key: str, value: bytes) -> None:
        """Writes one key; proxies read it at once."""
        with saved(f"writing key {key} of scope {scope.name}"):
            row = self._writable(scope, caller, Permission.WRITE)
            self._write(row, {key: value})

    async def delete(self, caller: Caller, scope: Scope, key: str) -> None:
        """Removes one key. `Unknown`."""
        with saved(f"deleting key {key} of scope {scope.name}"):
            row = self._writable(scope, caller, Permission.WRITE)
            if key not in write_times(self._folder, row.key):
                raise Unknown(f"scope {scope.name} has no key {key}")
            self._write(row, {key: None})

    async def acls(self, caller: Caller, scope: Scope) -> Mapping[str, Permission]:
        """Who may do what with the scope, by principal."""
        with saved(f"reading the permissions of scope {scope.name}"):
            row = self._row(scope)
            self._require(row, caller, Permission.MANAGE)
            return {principal: Permission(level) for principal, level in row.acls.items()}

    async def set_acl(self, caller: Caller, scope: Scope, principal: str, permission: Permission | None) -> None:
        """Gives a user or group that permission; None takes all away. `Unknown`: it has none."""
        with saved(f"changing the permissions of scope {scope.name}"):
            row = self._row(scope)
            self._require(row, caller, Permission.MANAGE)
            if permission is None and principal not in row.acls:
                raise Unknown(f"{principal} has no permission on scope {scope.name}")
            others = {name: level for name, level in row.acls.items() if name != principal}
            given = {principal: str(permission)} if permission else {}
            self._store.secrets.write(replace(row, acls={**others, **given}))

    async def owned(self, caller: Caller, object_name: str) -> Mapping[str, bytes]:
        """The values in the Secret of an endpoint; empty when there is none. `Denied`."""
        with saved(f"reading Secret {object_name}"):
            row = self._store.secrets.find((NAMESPACE, object_name))
            if row is None:
                return {}
            self._require_owner(row, caller)
            return read_secret(self._folder, row.key)

    async def write_owned(self, caller: Caller, object_name: str, values: Mapping[str, bytes | None]) -> None:
        """Changes keys of an endpoint's Secret; makes it, and removes it with its last key. `Denied`, `Refused`."""
        with saved(f"writing Secret {object_name}"):
            row = self._store.secrets.find((NAMESPACE, object_name)) or SecretRow((NAMESPACE, object_name))
            self._require_owner(row, caller)
            # First: of a Secret whose making is cut short, whoever clears up must know.
            self._store.secrets.write(row)
            try:
                self._write(row, values)
            finally:
                if not write_times(self._folder, row.key):
                    remove_secret(self._folder, row.key)
                    self._store.secrets.forget(row.key)

    async def adopt(self, caller: Caller, object_name: str, owner: Stored) -> None:
        """Makes `owner` the owner of that Secret. `Denied`, `Unknown`."""
        with saved(f"giving Secret {object_name} to its endpoint"):
            row = self._store.secrets.find((NAMESPACE, object_name))
            if row is None:
                raise Unknown(f"Secret {object_name} does not exist")
            self._require_owner(row, caller)
            self._store.secrets.write(replace(row, owner=owner.endpoint.metadata.uid))

    def _rows(self) -> list[SecretRow]:
        """The scopes. A file may hold Secrets of other namespaces, which endpoints of those use."""
        return [row for row in self._store.secrets.all().values() if row.scope and row.key[0] == NAMESPACE]

    def _row(self, scope: Scope) -> SecretRow:
        row = self._store.secrets.find((NAMESPACE, scope.object_name))
        if row is None or row.scope != scope.name:
            raise Unknown(f"scope {scope.name} does not exist")
        return row

    def _writable(self, scope: Scope, caller: Caller, permission: Permission) -> SecretRow:
        row = self._row(scope)
        self._require(row, caller, permission)
        if row.source:
            raise Refused(f"scope {scope.name} is the Secret {scope.object_name} of {row.source}: change it there")
        return row

    def _write(self, row: SecretRow, values: Mapping[str, bytes | None]) -> None:
        for key in values:
            if not _KEY.fullmatch(key):
                raise Refused("a key has at most 253 letters, digits and - _ . and does not begin with a dot")
        merged: dict[str, bytes | None] = {**read_secret(self._folder, row.key), **values}
        kept = {key: value for key, value in merged.items() if value is not None}
        if sum(map(len, kept.values())) > LARGEST_SECRET:
            raise Refused("all values of a scope together have at most 1 MiB")
        write_secret(self._folder, row.key, kept)

    def _scope(self, row: SecretRow) -> Scope:
        return Scope(row.scope, row.key[1], write_times(self._folder, row.key))

    def _require(self, row: SecretRow, caller: Caller, permission: Permission) -> None:
        if not permits(row, caller, permission):
            text = f"{caller.name} needs {permission} on scope {row.scope}: ask an admin or who manages it"
            raise Denied(text)

    def _require_owner(self, row: SecretRow, caller: Caller) -> None:
        """The Secret of an endpoint is for those who may manage it; a new one for those who may manage any."""
        if row.source or row.scope:
            raise Refused(f"Secret {row.key[1]} is a scope, not the Secret of an endpoint")
        endpoints = [
            record.endpoint for record in self._store.records() if row.owner in ("", record.endpoint.metadata.uid)
        ]
        levels = [level_given(endpoint, caller.name, caller.groups) for endpoint in endpoints]
        if not caller.admin and not any(includes(level, PermissionLevel.CAN_MANAGE) for level in levels):
            raise Denied(
                f"{caller.name} may not write the key of an endpoint: this needs an admin for a new endpoint, and "
                "CAN_MANAGE for one that is there"
            )


def permits(row: SecretRow, caller: Caller, permission: Permission) -> bool:
    """Whether the caller has that permission, or one that includes it, on the Secret of a scope."""
    given = [level for principal, level in row.acls.items() if principal == caller.name or principal in caller.groups]
    return caller.admin or any(_ORDER.index(Permission(level)) >= _ORDER.index(permission) for level in given)
