"""A workspace in memory: the ports of `stores.py` as an API server behaves, with an operator that tests script.

`World` holds everything, `World.platform()` is what management gets. Rights are a table; generation and resource
version count as they do in a cluster; the operator looks at an endpoint when a test says so, or at each `find`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.hosts import Leave
from model_serving.api.names import CREATOR_ANNOTATION, secret_names
from model_serving.api.policy import PermissionLevel
from model_serving.api.status import EndpointStatus
from model_serving.api.validation import check_create, check_update
from model_serving.lifecycle.decide import decide
from model_serving.lifecycle.observed import Deadlines, Finding, Observed, Rollout
from model_serving.lifecycle.revision import History, Shape, serving
from model_serving.stores import (
    Caller,
    Changed,
    Denied,
    Locked,
    Permission,
    Platform,
    Refused,
    Scope,
    Stored,
    Taken,
    Unknown,
    Verb,
)

ALICE = Caller("alice@example.com", frozenset({"writers"}), token="alice-token")
BOB = Caller("bob@example.com", frozenset({"readers"}), token="bob-token")
CAROL = Caller("carol@example.com", token="carol-token")
EVERYTHING = frozenset(Verb)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Record:
    """One endpoint as the world keeps it."""

    endpoint: ServingEndpoint
    history: History = ()
    updated_at: str = ""
    owner: str = ""
    target: str = ""


@dataclass
class MemoryScope:
    """One scope: its values, who may read it (None: everybody), and its ACLs."""

    name: str
    object_name: str
    values: dict[str, bytes] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    readers: frozenset[str] | None = None
    acls: dict[str, Permission] = field(default_factory=dict)


@dataclass
class OwnedSecret:
    """A Secret that an endpoint owns, or will own."""

    values: dict[str, bytes]
    owner: str = ""


@dataclass
class World:
    """All state. `steps`: how many looks the operator takes at an endpoint whenever somebody finds it; two make a new
    version serve. `rights`: what the platform's own rules allow a caller; absent: nothing."""

    steps: int = 2
    leave: Leave = "local"
    namespace: str = "gen-ai"
    people: dict[str, Caller] = field(default_factory=lambda: {c.token: c for c in (ALICE, BOB, CAROL)})
    rights: dict[str, frozenset[Verb]] = field(default_factory=lambda: {ALICE.name: EVERYTHING})
    records: dict[str, Record] = field(default_factory=dict)
    scopes: dict[str, MemoryScope] = field(default_factory=dict)
    owned: dict[str, OwnedSecret] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    """Who (token), what, which object: every write that was carried out, in order."""
    before_write: Callable[[str, str], Awaitable[None]] | None = None
    """Called with verb and object name before each write of an endpoint, to race with it or to refuse it."""
    before_look: Callable[[], None] | None = None
    """Called whenever somebody finds an endpoint: an operator that a test scripts."""
    now: datetime = START
    count: int = 0

    def platform(self) -> Platform:
        """The world as management sees it."""
        return Platform(
            MemoryCallers(self), MemoryEndpoints(self), MemorySecrets(self), "4711", self.namespace, self.leave
        )

    def add_scope(self, name: str, *, readers: frozenset[str] | None = None, **values: str) -> MemoryScope:
        """A scope with these keys."""
        made = MemoryScope(name, secret_names(name)[0], readers=readers)
        made.values = {key: value.encode() for key, value in values.items()}
        made.written = dict.fromkeys(values, self.stamp())
        self.scopes[name] = made
        return made

    def endpoint(self, name: str) -> ServingEndpoint:
        """The endpoint that clients call so."""
        return self.record(name).endpoint

    def record(self, name: str) -> Record:
        """The record of the endpoint that clients call so."""
        return next(r for r in self.records.values() if r.endpoint.endpoint_name == name)

    def stamp(self) -> str:
        """The world's time, RFC 3339."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def tick(self) -> str:
        """A number that was not given out before, as text; a second passes."""
        self.count += 1
        self.now += timedelta(seconds=1)
        return str(self.count)

    # The operator

    def look(self, name: str, *, findings: Sequence[Finding] = (), done: bool = True, failed: bool = False) -> None:
        """The operator looks at the endpoint and decides; the proxies it asked for last are ready if `done`."""
        record = self.record(name)
        rollout = _rollout(record, tuple(findings), done=done, failed=failed) if record.target else None
        observed = Observed(
            record.endpoint, record.history, Shape(), self.now, rollout=rollout,
            upstream_leave=self.leave, url=f"http://workspace/serving-endpoints/{name}/invocations",
        )  # fmt: skip
        decision = decide(observed, Deadlines())
        record.history = decision.history
        record.target = decision.target.name if decision.target else ""
        self._write_status(record, decision.status)

    def serve(self, name: str) -> None:
        """The operator looks until the endpoint serves what is asked for."""
        self.look(name)
        self.look(name)

    def fail(self, name: str, message: str = "no node takes the pod") -> None:
        """The version that is asked for does not start in time."""
        self.look(name, done=False)
        self.look(name, done=False, failed=True, findings=[Finding("Unschedulable", message)])

    def _write_status(self, record: Record, status: EndpointStatus) -> None:
        meta = record.endpoint.metadata
        if status != record.endpoint.status:
            meta = meta.model_copy(update={"resource_version": self.tick()})
        record.endpoint = record.endpoint.model_copy(update={"status": status, "metadata": meta})

    # What an API server does

    def may(self, caller: Caller, verb: Verb, object_name: str = "") -> bool:
        """By the table alone."""
        return caller.admin or verb in self.rights.get(caller.name, frozenset())

    def allowed(self, caller: Caller, verb: Verb, object_name: str) -> bool:
        """By the table, or by the Role that the operator makes of `spec.access`."""
        record = self.records.get(object_name)
        managed = record is not None and caller.name in _managers(record.endpoint) | _manager_groups(record, caller)
        return self.may(caller, verb) or (managed and verb in (Verb.GET, Verb.UPDATE, Verb.DELETE))

    async def authorise(self, caller: Caller, verb: Verb, object_name: str) -> None:
        """Denied, as RBAC says it."""
        if self.before_write is not None:
            await self.before_write(verb, object_name)
        if not self.allowed(caller, verb, object_name):
            raise Denied(f"{caller.name} may not {verb} servingendpoints {object_name}")
        self.writes.append((caller.token, str(verb), object_name))


def _rollout(record: Record, findings: tuple[Finding, ...], *, done: bool, failed: bool) -> Rollout:
    """One proxy of the target, beside an old one that serves until it is done."""
    old = not done and serving(record.history) is not None
    return Rollout(
        revision=record.target, settled=True, replicas=1, pods=1 + old, ready=int(done or old),
        updated=1, updated_ready=int(done), deadline_exceeded=failed, findings=findings,
    )  # fmt: skip


def _managers(endpoint: ServingEndpoint) -> set[str]:
    entries = endpoint.spec.access or []
    users = {e.name for e in entries if e.permission_level is PermissionLevel.CAN_MANAGE and e.kind == "User"}
    return users | {endpoint.metadata.annotations.get(CREATOR_ANNOTATION, "")}


def _manager_groups(record: Record, caller: Caller) -> set[str]:
    entries = record.endpoint.spec.access or []
    groups = {e.name for e in entries if e.permission_level is PermissionLevel.CAN_MANAGE and e.kind == "Group"}
    return {caller.name} if groups & caller.groups else set()


@dataclass
class MemoryCallers:
    """`stores.Callers`."""

    world: World

    async def identify(self, token: str) -> Caller | None:
        """By the table of people."""
        return self.world.people.get(token)

    async def may(self, caller: Caller, verb: Verb, object_name: str = "") -> bool:
        """By the table of rights."""
        return self.world.may(caller, verb, object_name)


@dataclass
class MemoryEndpoints:
    """`stores.Endpoints`."""

    world: World

    async def all(self) -> Sequence[Stored]:
        """All, oldest first."""
        return [_stored(record) for record in self.world.records.values()]

    async def find(self, endpoint_name: str) -> Stored | None:
        """By the name of clients; the operator takes its looks first."""
        for record in self.world.records.values():
            if record.endpoint.endpoint_name == endpoint_name:
                for _ in range(self.world.steps):
                    self.world.look(endpoint_name)
                if self.world.before_look:
                    self.world.before_look()
                return _stored(record)
        return None

    async def create(self, caller: Caller, endpoint: ServingEndpoint) -> Stored:
        """As a POST."""
        world, name = self.world, endpoint.metadata.name
        await world.authorise(caller, Verb.CREATE, name)
        if name in world.records:
            raise Taken(f"there is a ServingEndpoint {name} already")
        if found := check_create(endpoint, world.leave):
            raise Refused("; ".join(map(str, found)), found)
        number = world.tick()
        meta = endpoint.metadata.model_copy(
            update={
                "namespace": world.namespace, "uid": str(UUID(int=int(number))), "generation": 1,
                "resource_version": number, "creation_timestamp": world.stamp(),
            }
        )  # fmt: skip
        made = endpoint.model_copy(update={"metadata": meta, "status": EndpointStatus()})
        world.records[name] = Record(made, updated_at=world.stamp())
        return _stored(world.records[name])

    async def replace(self, caller: Caller, stored: Stored, endpoint: ServingEndpoint) -> Stored:
        """As a PUT with a resource version."""
        world, name = self.world, stored.endpoint.metadata.name
        await world.authorise(caller, Verb.UPDATE, name)
        record = world.records.get(name)
        if record is None or record.endpoint.metadata.uid != stored.endpoint.metadata.uid:
            raise Unknown(f"there is no ServingEndpoint {name}")
        old = record.endpoint
        if old.metadata.resource_version != stored.endpoint.metadata.resource_version:
            raise Changed(f"the ServingEndpoint {name} was changed meanwhile")
        _admit(old, endpoint, world.leave)
        changed = endpoint.spec != old.spec
        if changed or endpoint.metadata.annotations != old.metadata.annotations:
            meta = old.metadata.model_copy(
                update={
                    "annotations": dict(endpoint.metadata.annotations), "resource_version": world.tick(),
                    "generation": old.metadata.generation + changed,
                }
            )  # fmt: skip
            record.endpoint = old.model_copy(update={"metadata": meta, "spec": endpoint.spec})
            record.updated_at = world.stamp()
        return _stored(record)

    async def delete(self, caller: Caller, stored: Stored) -> None:
        """With what it owns."""
        world, meta = self.world, stored.endpoint.metadata
        await world.authorise(caller, Verb.DELETE, meta.name)
        record = world.records.get(meta.name)
        if record is not None and record.endpoint.metadata.uid == meta.uid:
            del world.records[meta.name]
            world.owned = {n: secret for n, secret in world.owned.items() if secret.owner != meta.uid}

    async def metrics(self, stored: Stored) -> str:
        """One line."""
        return f'model_serving_calls_total{{endpoint="{stored.endpoint.endpoint_name}",proxy="one"}} 1\n'

    async def logs(self, stored: Stored) -> str:
        """One line."""
        return f"a proxy of {stored.endpoint.endpoint_name} started\n"


def _stored(record: Record) -> Stored:
    return Stored(record.endpoint, record.history, record.updated_at, record.owner)


def _admit(old: ServingEndpoint, new: ServingEndpoint, leave: Leave) -> None:
    meta = new.metadata.model_copy(update={"generation": old.metadata.generation})
    found = check_update(old, new.model_copy(update={"metadata": meta}), leave)
    for problem in found:
        if problem.field == "spec.config":
            raise Locked(problem.message)
    if found:
        raise Refused("; ".join(map(str, found)), found)


@dataclass
class MemorySecrets:
    """`stores.Secrets`."""

    world: World

    async def scopes(self, caller: Caller) -> Sequence[Scope]:
        """Those that the caller may read."""
        readable = [s for _, s in sorted(self.world.scopes.items()) if s.readers is None or caller.name in s.readers]
        return [_scope(scope) for scope in readable]

    async def scope(self, caller: Caller, name: str) -> Scope | None:
        """One."""
        found = self.world.scopes.get(name)
        return _scope(self._readable(caller, found)) if found else None

    async def create_scope(self, caller: Caller, name: str) -> Scope:
        """Empty."""
        if name in self.world.scopes:
            raise Taken(f"there is a scope {name} already")
        return _scope(self.world.add_scope(name))

    async def delete_scope(self, caller: Caller, scope: Scope) -> None:
        """With its keys."""
        self._readable(caller, self.world.scopes[scope.name])
        del self.world.scopes[scope.name]

    async def put(self, caller: Caller, scope: Scope, key: str, value: bytes) -> None:
        """One key."""
        kept = self._readable(caller, self.world.scopes[scope.name])
        kept.values[key] = value
        self.world.tick()
        kept.written[key] = self.world.stamp()

    async def delete(self, caller: Caller, scope: Scope, key: str) -> None:
        """One key."""
        kept = self._readable(caller, self.world.scopes[scope.name])
        if key not in kept.values:
            raise Unknown(f"the scope {scope.name} has no key {key}")
        del kept.values[key], kept.written[key]

    async def acls(self, caller: Caller, scope: Scope) -> Mapping[str, Permission]:
        """As set."""
        return dict(self._readable(caller, self.world.scopes[scope.name]).acls)

    async def set_acl(self, caller: Caller, scope: Scope, principal: str, permission: Permission | None) -> None:
        """Sets or removes."""
        acls = self._readable(caller, self.world.scopes[scope.name]).acls
        if permission is None:
            acls.pop(principal, None)
        else:
            acls[principal] = permission

    async def owned(self, caller: Caller, object_name: str) -> Mapping[str, bytes]:
        """The values."""
        secret = self.world.owned.get(object_name)
        return dict(secret.values) if secret else {}

    async def write_owned(self, caller: Caller, object_name: str, values: Mapping[str, bytes | None]) -> None:
        """Adds, changes, removes."""
        secret = self.world.owned.setdefault(object_name, OwnedSecret({}))
        for key, value in values.items():
            if value is None:
                secret.values.pop(key, None)
            else:
                secret.values[key] = value
        if not secret.values:
            del self.world.owned[object_name]
        self.world.writes.append((caller.token, "write_owned", object_name))

    async def adopt(self, caller: Caller, object_name: str, owner: Stored) -> None:
        """Both go together from here on."""
        self.world.owned[object_name].owner = owner.endpoint.metadata.uid

    def _readable(self, caller: Caller, scope: MemoryScope) -> MemoryScope:
        if scope.readers is not None and caller.name not in scope.readers:
            raise Denied(f"{caller.name} may not read the secret scope {scope.name}")
        return scope


def _scope(scope: MemoryScope) -> Scope:
    return Scope(scope.name, scope.object_name, dict(scope.written))
