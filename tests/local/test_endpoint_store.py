"""Endpoints written through REST: what is refused to whom, and what each write leaves."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import CREATOR_ANNOTATION, OVERRIDE_ANNOTATION
from model_serving.api.status import ConfigUpdateState, EndpointState, EndpointStatus
from model_serving.local.callers import LocalCallers
from model_serving.local.documents import parse_documents
from model_serving.local.endpoint_store import LocalEndpoints
from model_serving.local.secret_store import LocalSecrets
from model_serving.local.store import Store, open_store
from model_serving.local.users import UsersWatch, digest_of
from model_serving.stores import (
    Away,
    Caller,
    Changed,
    Denied,
    Locked,
    Permission,
    Refused,
    Stored,
    StoreError,
    Taken,
    Unknown,
    Verb,
)
from tests.local.running import chat_endpoint

ROOT = Caller("root", admin=True)
CARLA = Caller("carla", frozenset({"writers"}))
OTTO = Caller("otto")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTTOS = f"{CREATOR_ANNOTATION}: otto"
WRITERS = "  access: [{kind: Group, name: writers, permissionLevel: CAN_MANAGE}]"


RESERVED = parse_documents(chat_endpoint("it", 1), "test").endpoints[0]
RESERVED = RESERVED.model_copy(update={"metadata": RESERVED.metadata.model_copy(update={"name": "databricks-x"})})


def endpoint(name: str = "it", **changes: str) -> ServingEndpoint:
    return parse_documents(chat_endpoint(name, 1, **{"more": WRITERS, **changes}), "test").endpoints[0]


class House:
    """A store without processes, and its keeper: how often it looked, and what it was told to say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Store = open_store(folder / "state")
        self.looks = 0
        self.notes: list[str] = []
        self.secrets = LocalSecrets(self.store, folder / "secrets")
        self.endpoints = LocalEndpoints(self.store, folder / "secrets", self, self)

    async def metrics(self, uid: str) -> str:
        return f"metrics of {uid}"

    def logs(self, endpoint: ServingEndpoint) -> str:
        raise OSError("no space")

    async def looked(self) -> None:
        self.looks += 1

    def note(self, text: str) -> None:
        self.notes.append(text)

    def observed(self, update: ConfigUpdateState) -> None:
        """The keeper has seen the present generation, and reports `update`."""
        record = self.store.records()[0]
        generation = record.endpoint.metadata.generation
        status = EndpointStatus(observed_generation=generation, state=EndpointState(config_update=update))
        self.store.write_outcome(record, (), status)

    async def stored(self, name: str = "it") -> Stored:
        found = await self.endpoints.find(name)
        assert found is not None
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


async def test_what_was_created_is_found_at_once_and_looked_at(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    meta = made.endpoint.metadata
    assert (meta.generation, meta.resource_version, made.owner) == (1, "1", "")
    assert made.updated_at == meta.creation_timestamp != ""
    assert (await house.stored()).endpoint == made.endpoint
    assert house.looks == 1


@pytest.mark.parametrize(
    ("caller", "wanted", "error", "words"),
    [
        pytest.param(CARLA, endpoint("new"), Denied, "admin", id="only admins create"),
        pytest.param(ROOT, endpoint(), Taken, "it", id="the same object"),
        pytest.param(ROOT, endpoint("other", more="  endpointName: it"), Taken, "it", id="the name that clients use"),
        pytest.param(ROOT, endpoint("new", annotations=OTTOS), Refused, "creator", id="another's"),
        pytest.param(ROOT, RESERVED, Refused, "reserved", id="a reserved name"),
    ],
)
async def test_what_cannot_be_created(
    house: House, caller: Caller, wanted: ServingEndpoint, error: type[StoreError], words: str
) -> None:
    await house.endpoints.create(ROOT, endpoint())
    with pytest.raises(error, match=words):
        await house.endpoints.create(caller, wanted)
    assert len(await house.endpoints.all()) == 1


async def test_a_replacement_keeps_identity_and_counts_on(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    wanted = endpoint(entity="e2", annotations="a: b")
    changed = await house.endpoints.replace(CARLA, made, wanted)
    assert changed.endpoint.metadata.uid == made.endpoint.metadata.uid
    assert (changed.endpoint.metadata.generation, changed.endpoint.metadata.annotations) == (2, {"a": "b"})
    assert changed.endpoint.spec == wanted.spec


@pytest.mark.parametrize(
    ("caller", "wanted", "error", "words"),
    [
        pytest.param(OTTO, endpoint(entity="e2"), Denied, "CAN_MANAGE", id="without the permission"),
        pytest.param(ROOT, endpoint(more="  endpointName: x"), Refused, "immutable", id="another name"),
        pytest.param(ROOT, endpoint(annotations=OTTOS), Refused, "creator", id="another creator"),
    ],
)
async def test_what_cannot_be_replaced(
    house: House, caller: Caller, wanted: ServingEndpoint, error: type[StoreError], words: str
) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    with pytest.raises(error, match=words):
        await house.endpoints.replace(caller, made, wanted)
    assert (await house.stored()).endpoint == made.endpoint


async def test_who_read_an_older_version_reads_again(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    await house.endpoints.replace(ROOT, made, endpoint(entity="e2"))
    with pytest.raises(Changed):
        await house.endpoints.replace(ROOT, made, endpoint(entity="e3"))


async def test_a_look_of_the_keeper_is_no_change(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    house.observed(ConfigUpdateState.NOT_UPDATING)
    changed = await house.endpoints.replace(ROOT, made, endpoint(entity="e2"))
    assert changed.endpoint.metadata.generation == 2


async def test_a_config_rests_during_an_update_and_nothing_else_does(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    house.observed(ConfigUpdateState.IN_PROGRESS)
    with pytest.raises(Locked, match="in progress"):
        await house.endpoints.replace(ROOT, made, endpoint(entity="e2"))
    limited = endpoint(more=f"{WRITERS}\n  rateLimits: [{{calls: 1}}]")
    limited = await house.endpoints.replace(ROOT, made, limited)
    house.observed(ConfigUpdateState.IN_PROGRESS)
    overriding = endpoint(entity="e2", annotations=f'{OVERRIDE_ANNOTATION}: "2"')
    assert (await house.endpoints.replace(ROOT, limited, overriding)).endpoint.metadata.generation == 3


async def test_what_a_file_declares_says_so_and_stays_the_files(house: House) -> None:
    house.store.apply(endpoint(), "a.yaml", NOW)
    changed = await house.endpoints.replace(ROOT, await house.stored(), endpoint(entity="e2"))
    assert (changed.owner, changed.updated_at != "2026-01-01T00:00:00Z") == ("a.yaml", True)


async def test_a_name_is_free_as_soon_as_the_endpoint_is_deleted(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    with pytest.raises(Denied):
        await house.endpoints.delete(OTTO, made)
    await house.endpoints.delete(CARLA, made)
    assert await house.endpoints.find("it") is None
    await house.endpoints.delete(CARLA, made)
    with pytest.raises(Unknown):
        await house.endpoints.replace(ROOT, made, endpoint())
    again = await house.endpoints.create(ROOT, endpoint())
    await house.endpoints.delete(ROOT, made)
    assert (await house.stored()).endpoint.metadata.uid == again.endpoint.metadata.uid
    assert house.notes == ["it: created by root", "it: deleted by carla", "it: created by root"]


async def test_who_may_not_read_a_scope_cannot_use_it(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    scope = await house.secrets.create_scope(ROOT, "provider")
    limited = await house.endpoints.replace(CARLA, made, endpoint(more=f"{WRITERS}\n  rateLimits: [{{calls: 1}}]"))
    with pytest.raises(Denied, match="scope provider"):
        await house.endpoints.replace(CARLA, limited, endpoint(entity="e2"))
    await house.secrets.set_acl(ROOT, scope, "writers", Permission.READ)
    await house.endpoints.replace(CARLA, limited, endpoint(entity="e2"))


async def test_scopes_are_out_of_reach_for_an_endpoint_of_another_namespace(house: House) -> None:
    there = endpoint()
    there = there.model_copy(update={"metadata": there.metadata.model_copy(update={"namespace": "gen-ai"})})
    house.store.apply(there, "a.yaml", NOW)
    await house.secrets.create_scope(ROOT, "provider")
    with pytest.raises(Refused, match="namespace gen-ai"):
        await house.endpoints.replace(ROOT, await house.stored(), endpoint(entity="e2"))


async def test_the_key_of_another_endpoint_cannot_be_used(house: House) -> None:
    await house.secrets.write_owned(ROOT, "their-keys", {"api_key": b"v"})
    theirs = await house.endpoints.create(ROOT, endpoint("theirs"))
    await house.secrets.adopt(ROOT, "their-keys", theirs)
    made = await house.endpoints.create(ROOT, endpoint())
    with pytest.raises(Denied, match="another endpoint"):
        await house.endpoints.replace(CARLA, made, endpoint(secret="their-keys"))


async def test_a_machine_that_fails_is_told_without_detail(house: House) -> None:
    made = await house.endpoints.create(ROOT, endpoint())
    with pytest.raises(Away, match="free some space"):
        await house.endpoints.logs(made)
    house.store.close()
    with pytest.raises(Away):
        await house.endpoints.all()
    house.store = open_store(house.folder / "state")


async def test_admins_may_everything_and_others_nothing_beyond_access() -> None:
    callers = LocalCallers(UsersWatch(None, None))
    assert await callers.identify("t") is None
    assert [await callers.may(ROOT, verb) for verb in Verb] == [True] * len(Verb)
    assert [await callers.may(CARLA, verb, "it") for verb in Verb] == [False] * len(Verb)


async def test_a_token_that_is_added_to_the_users_file_is_known_from_the_next_look_on(tmp_path: Path) -> None:
    file = tmp_path / "users.yaml"
    file.write_text(f"{digest_of('one')}: {{user: carla, groups: [writers]}}\n")
    watch = UsersWatch(file, None)
    callers = LocalCallers(watch)
    known = await callers.identify("one")
    assert known == Caller("carla", frozenset({"writers"}), "one")
    assert "one" not in repr(known)
    file.write_text(f"{digest_of('two')}: {{user: root, admin: true}}\n")
    watch.refresh()
    assert await callers.identify("one") is None
    assert await callers.identify("two") == Caller("root", frozenset(), "two", admin=True)


def test_a_state_folder_of_an_older_release_becomes_one_of_this(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with sqlite3.connect(path) as old:
        old.executescript(
            "CREATE TABLE endpoints (namespace TEXT, name TEXT, uid TEXT UNIQUE, generation INTEGER, created TEXT, "
            "source TEXT, labels TEXT, annotations TEXT, spec TEXT, status TEXT, PRIMARY KEY (namespace, name));"
            "CREATE TABLE secrets (namespace TEXT, name TEXT, source TEXT, PRIMARY KEY (namespace, name));"
        )
        values = ("default", "it", "u", 3, "2026-01-01T00:00:00Z", "a.yaml", "{}", "{}")
        old.execute(
            "INSERT INTO endpoints VALUES (?,?,?,?,?,?,?,?,?,?)",
            (*values, json.dumps(endpoint().spec.manifest()), "{}"),
        )
        old.execute("INSERT INTO secrets VALUES ('default', 'provider', 'a.yaml')")
    old.close()
    for _ in range(2):
        store = open_store(path)
        record = store.records()[0]
        assert (record.updated, record.endpoint.metadata.resource_version) == ("2026-01-01T00:00:00Z", "1")
        assert store.secrets.all()["default", "provider"].scope == "provider"
        store.close()
