"""Scopes and Secrets of endpoints: who may do what, where values lie, and what stays of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_serving.local.documents import parse_documents
from model_serving.local.errors import InputError
from model_serving.local.inputs import Inputs
from model_serving.local.secret_files import delete_endpoint, sweep_secrets
from model_serving.local.secret_store import LARGEST_SECRET, LocalSecrets
from model_serving.local.sources import FileSource
from model_serving.local.store import Store, open_store
from model_serving.stores import Caller, Denied, Permission, Refused, Scope, Stored, StoreError, Taken, Unknown
from tests.local.running import chat_endpoint, documents, secret

ROOT = Caller("root", admin=True)
CARLA = Caller("carla", frozenset({"writers"}))
OTTO = Caller("otto")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
READ, WRITE, MANAGE = Permission


class House:
    """A store with its folder of Secrets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "secrets"
        self.store: Store = open_store(folder / "state")
        self.secrets = LocalSecrets(self.store, self.files)

    def declare(self, *parts: str) -> None:
        """A file is applied that holds these objects."""
        (self.folder / "a.yaml").write_text(documents(*parts))
        Inputs(lambda: [FileSource(self.folder / "a.yaml")], self.store, self.files, "me").apply(NOW)

    def endpoint(self, access: str = "[]") -> Stored:
        """An endpoint made through REST."""
        made = parse_documents(chat_endpoint("it", 1, more=f"  access: {access}"), "test").endpoints[0]
        self.store.apply(made, "", NOW)
        record = self.store.records()[0]
        return Stored(record.endpoint, record.history)

    async def scope(self, name: str = "my_scope", **acls: Permission) -> Scope:
        """A scope that root made, with the key `k`."""
        made = await self.secrets.create_scope(ROOT, name)
        await self.secrets.put(ROOT, made, "k", b"canary")
        for principal, permission in acls.items():
            await self.secrets.set_acl(ROOT, made, principal, permission)
        return made

    def values(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.files)): p.read_bytes() for p in self.files.rglob("*") if p.is_file()}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


async def test_values_lie_in_private_files_and_not_in_the_database(house: House) -> None:
    await house.scope()
    assert house.values() == {"default/my-scope/k": b"canary"}
    file = next(p for p in house.files.rglob("*") if p.is_file())
    assert file.stat().st_mode & 0o777 == 0o600
    for database in house.folder.glob("state*"):
        assert b"canary" not in database.read_bytes()


@pytest.mark.parametrize(
    ("first", "name", "pattern"),
    [
        pytest.param(None, "scope", r"scope", id="a name that Kubernetes allows is the Secret's"),
        pytest.param(None, "My_Scope@x", r"my-scope-x", id="another one becomes a slug"),
        pytest.param("my-scope", "my_scope", r"my-scope-[0-9a-f]{6}", id="with a hash when the slug is taken"),
    ],
)
async def test_the_secret_behind_a_scope(house: House, first: str | None, name: str, pattern: str) -> None:
    if first:
        await house.secrets.create_scope(ROOT, first)
    made = await house.secrets.create_scope(ROOT, name)
    assert re.fullmatch(pattern, made.object_name)
    found = await house.secrets.scope(ROOT, name)
    assert found is not None and found.object_name == made.object_name


async def test_a_scope_cannot_be_made_twice(house: House) -> None:
    await house.scope()
    with pytest.raises(Taken, match="my_scope"):
        await house.secrets.create_scope(ROOT, "my_scope")


async def test_only_admins_make_scopes(house: House) -> None:
    with pytest.raises(Denied, match="admin"):
        await house.secrets.create_scope(OTTO, "s")


Act = Callable[[LocalSecrets, Caller, Scope], Awaitable[object]]
ACTS: dict[str, Act] = {
    "reads": lambda secrets, caller, scope: secrets.scope(caller, scope.name),
    "puts": lambda secrets, caller, scope: secrets.put(caller, scope, "k", b"v"),
    "deletes a key": lambda secrets, caller, scope: secrets.delete(caller, scope, "k"),
    "lists permissions": lambda secrets, caller, scope: secrets.acls(caller, scope),
    "gives permissions": lambda secrets, caller, scope: secrets.set_acl(caller, scope, "otto", READ),
    "deletes the scope": lambda secrets, caller, scope: secrets.delete_scope(caller, scope),
}


@pytest.mark.parametrize(("act", "needed"), list(zip(ACTS, [READ, WRITE, WRITE, MANAGE, MANAGE, MANAGE], strict=True)))
@pytest.mark.parametrize("given", [None, READ, WRITE, MANAGE])
@pytest.mark.parametrize("principal", ["carla", "writers"])
async def test_a_permission_includes_the_lower_ones(
    house: House, act: str, needed: Permission, given: Permission | None, principal: str
) -> None:
    scope = await house.scope(**({principal: given} if given else {}))
    if given and list(Permission).index(given) >= list(Permission).index(needed):
        await ACTS[act](house.secrets, CARLA, scope)
    else:
        with pytest.raises(Denied, match="carla"):
            await ACTS[act](house.secrets, CARLA, scope)


async def test_a_list_shows_what_one_may_read(house: House) -> None:
    await house.scope("open", writers=READ)
    await house.scope("closed")
    assert [scope.name for scope in await house.secrets.scopes(CARLA)] == ["open"]
    assert [scope.name for scope in await house.secrets.scopes(ROOT)] == ["closed", "open"]


async def test_the_creator_manages_and_a_permission_can_be_taken_away(house: House) -> None:
    scope = await house.scope(carla=READ)
    assert await house.secrets.acls(ROOT, scope) == {"root": MANAGE, "carla": READ}
    await house.secrets.set_acl(ROOT, scope, "carla", None)
    assert await house.secrets.acls(ROOT, scope) == {"root": MANAGE}
    with pytest.raises(Unknown, match="carla"):
        await house.secrets.set_acl(ROOT, scope, "carla", None)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        pytest.param(lambda s, c, scope: s.put(c, scope, "..", b"v"), Refused, id="a key that is a path"),
        pytest.param(lambda s, c, scope: s.put(c, scope, "a/b", b"v"), Refused, id="a key with a slash"),
        pytest.param(lambda s, c, scope: s.put(c, scope, "l", b"v" * LARGEST_SECRET), Refused, id="too much"),
        pytest.param(lambda s, c, scope: s.delete(c, scope, "gone"), Unknown, id="no such key"),
        pytest.param(lambda s, c, scope: s.put(c, Scope("x", "x", {}), "k", b"v"), Unknown, id="no such scope"),
    ],
)
async def test_what_is_refused(house: House, act: Act, error: type[StoreError]) -> None:
    scope = await house.scope()
    before = house.values()
    with pytest.raises(error) as caught:
        await act(house.secrets, ROOT, scope)
    assert house.values() == before
    assert "canary" not in caught.value.message


async def test_a_secret_of_a_file_is_a_scope_that_is_changed_there(house: House) -> None:
    annotated = secret("s", k="v").replace("{name: s}", "{name: s, annotations: {model-serving.dev/scope: My_S}}")
    house.declare(annotated, secret("plain", k="v"))
    assert [scope.name for scope in await house.secrets.scopes(ROOT)] == ["My_S", "plain"]
    scope = await house.secrets.scope(ROOT, "My_S")
    assert scope is not None and list(scope.keys) == ["k"]
    for act in ("puts", "deletes a key", "deletes the scope"):
        with pytest.raises(Refused, match=r"a\.yaml"):
            await ACTS[act](house.secrets, ROOT, scope)
    await house.secrets.set_acl(ROOT, scope, "carla", READ)
    house.declare(annotated.replace("k: v", "k: w"))
    assert await house.secrets.acls(ROOT, scope) == {"carla": READ}


async def test_files_never_remove_what_rest_made_and_add_keys_to_it(house: House) -> None:
    scope = await house.scope()
    house.declare(chat_endpoint("it", 1))
    assert house.values() == {"default/my-scope/k": b"canary"}
    house.declare(secret(scope.object_name, l="v"))
    assert house.values() == {"default/my-scope/k": b"canary", "default/my-scope/l": b"v"}
    await house.secrets.put(ROOT, scope, "k", b"w")
    house.declare(secret("other", k="v"))
    found = await house.secrets.scope(ROOT, "my_scope")
    assert found is not None and list(found.keys) == ["k", "l"]


async def test_a_file_cannot_take_the_secret_of_an_endpoint(house: House) -> None:
    await house.secrets.write_owned(ROOT, "it-keys", {"a": b"1"})
    with pytest.raises(InputError, match="another name"):
        house.declare(secret("it-keys", a="two"))
    assert house.values() == {"default/it-keys/a": b"1"}


async def test_the_secret_of_an_endpoint_goes_with_it(house: House) -> None:
    await house.secrets.write_owned(ROOT, "it-keys", {"a": b"1", "b": b"2"})
    stored = house.endpoint()
    await house.secrets.adopt(ROOT, "it-keys", stored)
    await house.secrets.write_owned(ROOT, "it-keys", {"b": None, "c": b"3"})
    assert await house.secrets.owned(ROOT, "it-keys") == {"a": b"1", "c": b"3"}
    assert await house.secrets.scopes(ROOT) == []
    delete_endpoint(house.store, house.files, stored.endpoint)
    assert (await house.secrets.owned(ROOT, "it-keys"), house.values()) == ({}, {})


async def test_the_secret_of_an_endpoint_goes_with_its_last_key(house: House) -> None:
    await house.secrets.write_owned(ROOT, "it-keys", {"a": b"1"})
    await house.secrets.write_owned(ROOT, "it-keys", {"a": None})
    assert (house.store.secrets.all(), house.values()) == ({}, {})


async def test_the_secret_of_an_endpoint_is_for_those_who_may_manage_it(house: House) -> None:
    await house.secrets.write_owned(ROOT, "it-keys", {"a": b"1"})
    manage = "[{kind: Group, name: writers, permissionLevel: CAN_MANAGE}]"
    await house.secrets.adopt(ROOT, "it-keys", house.endpoint(manage))
    assert await house.secrets.owned(CARLA, "it-keys") == {"a": b"1"}
    with pytest.raises(Denied):
        await house.secrets.owned(OTTO, "it-keys")
    with pytest.raises(Denied):
        await house.secrets.write_owned(OTTO, "it-keys", {"a": b"2"})
    with pytest.raises(Denied):
        await house.secrets.write_owned(OTTO, "new-keys", {"a": b"2"})


async def test_a_scope_is_not_the_secret_of_an_endpoint(house: House) -> None:
    scope = await house.scope()
    with pytest.raises(Refused, match="scope"):
        await house.secrets.write_owned(ROOT, scope.object_name, {"k": b"other"})


async def test_what_a_killed_runner_left_half_done_is_put_right(house: House) -> None:
    stored = house.endpoint()
    for name in ("it-keys", "provider", "orphan"):
        await house.secrets.write_owned(ROOT, name, {"a": b"1"})
    await house.secrets.adopt(ROOT, "it-keys", stored)
    await house.scope("s")
    sweep_secrets(house.store, house.files)
    assert sorted(house.values()) == ["default/it-keys/a", "default/provider/a", "default/s/k"]
    delete_endpoint(house.store, house.files, stored.endpoint)
    assert sorted(house.values()) == ["default/s/k"]


@pytest.mark.parametrize("known", [True, False], ids=["after its row", "before its row"])
async def test_a_runner_that_is_killed_while_it_keeps_a_key_leaves_none_behind(
    house: House, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    write = house.store.secrets.write
    monkeypatch.setattr(house.store.secrets, "write", lambda row: (write(row) if known else None, killed()))
    with pytest.raises(KeyboardInterrupt):
        await house.secrets.write_owned(ROOT, "chat-keys", {"a": b"1"})
    sweep_secrets(house.store, house.files)
    assert not house.values()
