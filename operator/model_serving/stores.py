"""Ports: what management needs of a platform. Implemented by `kube/` (objects of a cluster) and `local/` (one machine).

Writes carry the caller, because the platform decides with the caller's rights, never with management's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.hosts import Leave
from model_serving.api.problems import Problem
from model_serving.lifecycle.revision import History


class StoreError(Exception):
    """Base of all; `message` says what is wrong and what to do, for the person who asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unknown(StoreError):
    """It is not there."""


class Taken(StoreError):
    """Something of that name is there already."""


class Changed(StoreError):
    """Somebody wrote in between: read again, decide again."""


class Locked(StoreError):
    """An update is in progress, or the last change has not been observed yet."""


class Denied(StoreError):
    """The caller may not do that."""


class Away(StoreError):
    """The platform gives no answer at the moment."""


class Refused(StoreError):
    """The content is refused; trying again does not help. `problems` in YAML spelling, as far as they are known."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `token` is what was presented: writes go out with it, and nobody shows it. `admin`: local mode's
    word for somebody who may do everything."""

    name: str
    groups: frozenset[str] = frozenset()
    token: str = field(default="", repr=False)
    admin: bool = False


class Verb(StrEnum):
    """What RBAC may allow with ServingEndpoints (Kubernetes' words)."""

    CREATE = "create"
    LIST = "list"
    GET = "get"
    UPDATE = "update"
    DELETE = "delete"


class Callers(Protocol):
    """Knows callers and their rights beyond `spec.access`."""

    async def identify(self, token: str) -> Caller | None:
        """The owner of a bearer token; None: nobody knows it. Raises `Away`."""

    async def may(self, caller: Caller, verb: Verb, object_name: str = "") -> bool:
        """Whether the platform's own rules (RBAC, local admins) allow this with the endpoint of that object name, or
        with any (""). Never rests on `spec.access`, which management judges itself. Raises `Away`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An endpoint as the platform keeps it, with the history of its configs, oldest first.

    `updated_at`: RFC 3339, when a user last wrote it. `owner` names what writes it back (Argo CD, Flux, a file), empty
    for none. `raw` is the platform's own form, handed back to it by `replace`.
    """

    endpoint: ServingEndpoint
    history: History = ()
    updated_at: str = ""
    owner: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Endpoints(Protocol):
    """The endpoints of one workspace. Those being deleted are not there. All raise `StoreError`."""

    async def all(self) -> Sequence[Stored]:
        """All, oldest first."""

    async def find(self, endpoint_name: str) -> Stored | None:
        """The one that clients call so; the oldest, should there be two. Sees every write that was answered."""

    async def create(self, caller: Caller, endpoint: ServingEndpoint) -> Stored:
        """Makes it. `Taken`, `Refused`, `Denied`."""

    async def replace(self, caller: Caller, stored: Stored, endpoint: ServingEndpoint) -> Stored:
        """Writes annotations and spec of `endpoint` over what was read as `stored`.

        `Changed` when somebody wrote since, `Locked` for a config that has to rest, `Refused`, `Denied`, `Unknown`."""

    async def delete(self, caller: Caller, stored: Stored) -> None:
        """Deletes that very object; returns when its name is free. `Denied`; that it is gone already is fine."""

    async def metrics(self, stored: Stored) -> str:
        """Prometheus text of the endpoint's proxies, each line with the proxy it comes from."""

    async def logs(self, stored: Stored) -> str:
        """The latest lines of the endpoint's proxies."""


class Permission(StrEnum):
    """Databricks' levels on a scope; each includes the former."""

    READ = "READ"
    WRITE = "WRITE"
    MANAGE = "MANAGE"


@dataclass(frozen=True, slots=True)
class Scope:
    """A secret scope: its Databricks spelling, the Secret behind it, and when each key was written (RFC 3339)."""

    name: str
    object_name: str
    keys: Mapping[str, str]


class Secrets(Protocol):
    """Secret scopes and the Secrets of endpoints, all with the caller's own rights. All raise `StoreError`; a caller
    who may not read a scope gets `Denied`, never a value. Values can be written and not read back."""

    async def scopes(self, caller: Caller) -> Sequence[Scope]:
        """The scopes that the caller may list, by name."""

    async def scope(self, caller: Caller, name: str) -> Scope | None:
        """One scope by its Databricks name; None when there is none."""

    async def create_scope(self, caller: Caller, name: str) -> Scope:
        """`Taken` when there is one of that name."""

    async def delete_scope(self, caller: Caller, scope: Scope) -> None:
        """With all its keys."""

    async def put(self, caller: Caller, scope: Scope, key: str, value: bytes) -> None:
        """Writes one key."""

    async def delete(self, caller: Caller, scope: Scope, key: str) -> None:
        """Removes one key. `Unknown`."""

    async def acls(self, caller: Caller, scope: Scope) -> Mapping[str, Permission]:
        """Who may do what with the scope, by principal."""

    async def set_acl(self, caller: Caller, scope: Scope, principal: str, permission: Permission | None) -> None:
        """Gives a principal that permission; None takes all away."""

    async def owned(self, caller: Caller, object_name: str) -> Mapping[str, bytes]:
        """The values in the Secret of that name which an endpoint owns; empty when there is none."""

    async def write_owned(self, caller: Caller, object_name: str, values: Mapping[str, bytes | None]) -> None:
        """Adds, changes (bytes) and removes (None) keys of that Secret; makes it, or removes it with its last key."""

    async def adopt(self, caller: Caller, object_name: str, owner: Stored) -> None:
        """Makes `owner` the owner of that Secret, so that both are deleted together."""


@dataclass(slots=True)
class Platform:
    """One workspace. `workspace_id` consists of digits; `leave`: which hosts endpoints may call (the platform keeps it
    up to date: an admin may change it); `namespace` is that of the objects."""

    callers: Callers
    endpoints: Endpoints
    secrets: Secrets
    workspace_id: str
    namespace: str
    leave: Leave = "public"
