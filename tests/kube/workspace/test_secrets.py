"""Scopes, permissions and kept keys before the fake API server, all with the caller's own token."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import SCOPE_ANNOTATION, secret_names
from model_serving.kube.client import Client
from model_serving.kube.workspace.secret_store import KubeSecrets
from model_serving.stores import Caller, Denied, Permission, Refused, Scope, Stored, StoreError, Taken, Unknown
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.kube.workspace.conftest import ALICE, BOB, ENDPOINTS, NAMESPACE, RBAC, SECRETS, endpoint

BINDINGS, ROLES = f"{RBAC}/rolebindings", f"{RBAC}/roles"


@pytest.fixture
def secrets(client: Client) -> KubeSecrets:
    return KubeSecrets(client, NAMESPACE)


def secret(name: str, values: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in (values or {}).items()}
    return {"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}, "data": data}


async def scope_of(secrets: KubeSecrets, name: str, caller: Caller = ALICE) -> Scope:
    scope = await secrets.scope(caller, name)
    assert scope is not None
    return scope


async def test_a_scope_is_made_filled_listed_and_deleted(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    name = "My_Scope@Team." + "x" * 100
    scope = await secrets.create_scope(ALICE, name)
    assert scope.name == name and scope.object_name == secret_names(name)[0]
    await secrets.put(ALICE, scope, "openai", b"sk-1")
    await secrets.put(ALICE, scope, "k" * 128, b"sk-2")
    found = await scope_of(secrets, name)
    assert set(found.keys) == {"openai", "k" * 128}
    for stamp in found.keys.values():
        assert datetime.now(UTC) - datetime.fromisoformat(stamp) < timedelta(minutes=5)
    assert base64.b64decode(api.get(SECRETS, scope.object_name)["data"]["openai"]) == b"sk-1"
    assert [s.name for s in await secrets.scopes(ALICE)] == [name]
    await secrets.delete(ALICE, found, "openai")
    assert set((await scope_of(secrets, name)).keys) == {"k" * 128}
    with pytest.raises(Unknown, match="has no key openai"):
        await secrets.delete(ALICE, found, "openai")
    await secrets.delete_scope(ALICE, scope)
    assert await secrets.scope(ALICE, name) is None
    assert {token for _, token in api.tokens} == {"alice-token"}, "never the workspace's own"


async def test_a_secret_without_the_annotation_is_a_scope_of_its_own_name(
    api: FakeKubeApi, secrets: KubeSecrets
) -> None:
    api.put(SECRETS, secret("my-scope", {"key": "v"}))
    assert (await scope_of(secrets, "my-scope")).keys == {"key": "2026-01-01T00:00:00Z"}
    assert await secrets.scope(ALICE, "my_scope") is None, "that is another name"
    with pytest.raises(Taken, match="my-scope exists already"):
        await secrets.create_scope(ALICE, "my-scope")


async def test_scopes_of_one_slug_never_meet(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    made = [await secrets.create_scope(ALICE, name) for name in ("my_scope", "My_Scope", "my-scope")]
    assert len({scope.object_name for scope in made}) == 3
    for scope in made:
        assert await scope_of(secrets, scope.name) == scope
        with pytest.raises(Taken):
            await secrets.create_scope(ALICE, scope.name)
    await secrets.delete_scope(ALICE, made[0])
    assert await scope_of(secrets, "my-scope") == made[2], "found under its second name, though the first is free"


async def test_a_scope_for_which_no_name_is_left_is_refused(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    for name in secret_names("my_scope"):
        api.put(SECRETS, secret(name))
    with pytest.raises(Taken, match="neither name is free"):
        await secrets.create_scope(ALICE, "my_scope")


async def test_two_who_make_one_scope_at_once_do_not_both_succeed(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    api.delay = 0.02
    made = await asyncio.gather(*(secrets.create_scope(ALICE, "my_scope") for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, Scope) for each in made) == 1
    assert sum(isinstance(each, Taken) for each in made) == 3
    assert len(await secrets.scopes(ALICE)) == 1


async def test_a_scope_that_may_not_be_read_is_denied_and_never_shown(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    scope = await secrets.create_scope(ALICE, "my_scope")
    await secrets.put(ALICE, scope, "openai", b"sk-canary")
    api.people.denied = {("bob", verb, "secrets") for verb in ("get", "list", "patch", "create", "delete")}
    for call in (
        secrets.scope(BOB, "my_scope"),
        secrets.scopes(BOB),
        secrets.put(BOB, scope, "openai", b"other"),
        secrets.delete(BOB, scope, "openai"),
        secrets.delete_scope(BOB, scope),
        secrets.create_scope(BOB, "another"),
        secrets.owned(BOB, "chat-keys"),
    ):
        with pytest.raises(Denied, match="bob may not") as caught:
            await call
        assert "ask an admin of the namespace" in caught.value.message and "sk-canary" not in caught.value.message


async def test_the_right_to_one_of_the_two_names_is_enough(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    first, second = secret_names("my_scope")
    api.put(SECRETS, secret(second, {"key": "v"}, annotations={SCOPE_ANNOTATION: "my_scope"}))
    api.failures.append(Failure(403, lambda r: r.path.endswith(f"/{first}"), times=9))
    assert (await scope_of(secrets, "my_scope")).object_name == second


async def test_keys_put_at_the_same_time_are_all_kept(secrets: KubeSecrets) -> None:
    scope = await secrets.create_scope(ALICE, "my_scope")
    await asyncio.gather(*(secrets.put(ALICE, scope, f"key-{n}", b"v") for n in range(20)))
    keys = (await scope_of(secrets, "my_scope")).keys
    assert len(keys) == 20 and all(keys.values())


async def test_permissions_become_roles_and_back(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    scope = await secrets.create_scope(ALICE, "my_scope")
    robot = "system:serviceaccount:ci:robot"
    wanted = {
        "bob": Permission.READ,
        robot: Permission.WRITE,
        "group:ml": Permission.MANAGE,
        "users": Permission.READ,
    }
    for principal, permission in wanted.items():
        await secrets.set_acl(ALICE, scope, principal, permission)
    assert await secrets.acls(ALICE, scope) == wanted
    subjects = api.get(BINDINGS, "my-scope-scope-read")["subjects"]
    assert [(s["kind"], s["name"]) for s in subjects] == [("User", "bob"), ("Group", "users")]
    assert api.get(BINDINGS, "my-scope-scope-write")["subjects"] == [
        {"kind": "ServiceAccount", "name": "robot", "namespace": "ci"}
    ]
    uid = api.get(SECRETS, "my-scope")["metadata"]["uid"]
    for level, verbs in (("read", ["get"]), ("write", ["get", "update", "patch"])):
        role = api.get(ROLES, f"my-scope-scope-{level}")
        assert role["metadata"]["ownerReferences"][0]["uid"] == uid, "deleted with the scope"
        assert role["rules"][0]["resourceNames"] == ["my-scope"] and role["rules"][0]["verbs"] == verbs
    await secrets.set_acl(ALICE, scope, "bob", Permission.MANAGE)
    await secrets.set_acl(ALICE, scope, robot, None)
    assert await secrets.acls(ALICE, scope) == {
        "bob": Permission.MANAGE,
        "group:ml": Permission.MANAGE,
        "users": Permission.READ,
    }


async def test_permissions_given_at_the_same_time_are_all_kept(secrets: KubeSecrets) -> None:
    scope = await secrets.create_scope(ALICE, "my_scope")
    await asyncio.gather(*(secrets.set_acl(ALICE, scope, f"user-{n}", Permission.READ) for n in range(4)))
    assert len(await secrets.acls(ALICE, scope)) == 4


async def test_permissions_of_a_deleted_scope_are_not_taken_over(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    """Its Roles go by themselves, some time later."""
    scope = await secrets.create_scope(ALICE, "my_scope")
    await secrets.set_acl(ALICE, scope, "mallory", Permission.READ)
    await secrets.delete_scope(ALICE, scope)
    again = await secrets.create_scope(ALICE, "my_scope")
    await secrets.set_acl(ALICE, again, "bob", Permission.READ)
    assert await secrets.acls(ALICE, again) == {"bob": Permission.READ}
    uid = api.get(SECRETS, "my-scope")["metadata"]["uid"]
    for path in (ROLES, BINDINGS):
        assert api.get(path, "my-scope-scope-read")["metadata"]["ownerReferences"][0]["uid"] == uid


@pytest.mark.parametrize(
    "principal", ["system:anonymous", "group:system:unauthenticated", "group:system:authenticated"]
)
async def test_nobody_gives_a_scope_to_everybody(api: FakeKubeApi, secrets: KubeSecrets, principal: str) -> None:
    scope = await secrets.create_scope(ALICE, "my_scope")
    with pytest.raises(Refused, match="would be everybody"):
        await secrets.set_acl(ALICE, scope, principal, Permission.READ)


async def test_who_may_not_make_roles_is_told(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    scope = await secrets.create_scope(ALICE, "my_scope")
    api.people.denied = {("bob", "create", "roles"), ("bob", "get", "rolebindings")}
    with pytest.raises(Denied, match="roles and rolebindings"):
        await secrets.set_acl(BOB, scope, "carol", Permission.READ)
    with pytest.raises(Denied, match="roles and rolebindings"):
        await secrets.acls(BOB, scope)


def stored(api: FakeKubeApi, name: str) -> Stored:
    return Stored(ServingEndpoint.model_validate(api.put(ENDPOINTS, endpoint(name))))


async def test_kept_keys_are_written_read_owned_and_removed(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    assert await secrets.owned(ALICE, "chat-keys") == {}
    await secrets.write_owned(ALICE, "chat-keys", {"a": b"1", "b": b"2"})
    owner = stored(api, "chat")
    await secrets.adopt(ALICE, "chat-keys", owner)
    assert api.get(SECRETS, "chat-keys")["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "model-serving.dev/v1alpha1",
            "kind": "ServingEndpoint",
            "name": "chat",
            "uid": owner.endpoint.metadata.uid,
        }
    ], "neither the controller, nor in the way of a deletion"
    await secrets.write_owned(ALICE, "chat-keys", {"a": None, "c": b"3"})
    assert await secrets.owned(ALICE, "chat-keys") == {"b": b"2", "c": b"3"}
    await secrets.write_owned(ALICE, "chat-keys", {"b": None, "c": None, "never-there": None})
    assert await secrets.owned(ALICE, "chat-keys") == {}
    assert not [key for key in api.objects if key[2] == "chat-keys"], "gone with its last key"
    await secrets.write_owned(ALICE, "chat-keys", {"b": None})


async def test_a_secret_of_somebody_else_is_neither_read_nor_written(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    api.put(SECRETS, secret("chat-keys", {"a": "theirs"}))
    assert await secrets.owned(ALICE, "chat-keys") == {}
    with pytest.raises(Refused, match="the Secret chat-keys would keep the endpoint's keys"):
        await secrets.write_owned(ALICE, "chat-keys", {"a": b"mine"})
    assert base64.b64decode(api.get(SECRETS, "chat-keys")["data"]["a"]) == b"theirs"


async def test_a_scope_that_is_called_like_an_endpoints_secret_is_not_touched(
    api: FakeKubeApi, secrets: KubeSecrets
) -> None:
    """Else deleting the endpoint `chat` would empty the scope `chat-keys`."""
    scope = await secrets.create_scope(ALICE, "chat-keys")
    await secrets.put(ALICE, scope, "openai", b"sk-1")
    assert scope.object_name == "chat-keys" and await secrets.owned(ALICE, "chat-keys") == {}
    for values in ({"a": b"mine"}, {"openai": None}):
        with pytest.raises(Refused, match="the Secret chat-keys would keep the endpoint's keys"):
            await secrets.write_owned(ALICE, "chat-keys", values)
    assert set((await scope_of(secrets, "chat-keys")).keys) == {"openai"}


async def test_keys_of_a_deleted_namesake_are_not_gone_on_with(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    """The garbage collector would take the new keys with the old."""
    await secrets.write_owned(ALICE, "chat-keys", {"old": b"1"})
    await secrets.adopt(ALICE, "chat-keys", stored(api, "chat"))
    api.remove(ENDPOINTS, "chat")
    await secrets.write_owned(ALICE, "chat-keys", {"new": b"2"})
    assert await secrets.owned(ALICE, "chat-keys") == {"new": b"2"}
    assert "ownerReferences" not in api.get(SECRETS, "chat-keys")["metadata"]


async def test_keys_of_a_living_endpoint_are_added_to(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    await secrets.write_owned(ALICE, "chat-keys", {"old": b"1"})
    await secrets.adopt(ALICE, "chat-keys", stored(api, "chat"))
    await secrets.write_owned(ALICE, "chat-keys", {"new": b"2"})
    assert await secrets.owned(ALICE, "chat-keys") == {"old": b"1", "new": b"2"}


async def test_two_who_keep_keys_at_once_both_do(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    api.delay = 0.02
    await asyncio.gather(*(secrets.write_owned(ALICE, "chat-keys", {f"key-{n}": b"v"}) for n in range(2)))
    assert set(await secrets.owned(ALICE, "chat-keys")) == {"key-0", "key-1"}


async def test_a_key_that_is_added_while_the_last_one_goes_is_kept(api: FakeKubeApi, secrets: KubeSecrets) -> None:
    """Two calls keep keys for one endpoint, and one of them takes its own back."""
    await secrets.write_owned(ALICE, "chat-keys", {"mine": b"1"})

    def added(request: Any) -> bool:
        if request.method == "DELETE":
            kept = api.get(SECRETS, "chat-keys")
            api.put(SECRETS, {**kept, "data": {**kept["data"], "theirs": "Mg=="}})
        return False

    api.failures.append(Failure(500, added))
    await secrets.write_owned(ALICE, "chat-keys", {"mine": None})
    assert await secrets.owned(ALICE, "chat-keys") == {"theirs": b"2"}


async def test_no_value_is_in_any_word(api: FakeKubeApi, secrets: KubeSecrets, caplog: Any) -> None:
    scope = await secrets.create_scope(ALICE, "my_scope")
    for status in (403, 409, 422, 500):
        api.failures.append(Failure(status, times=3))
        with pytest.raises(StoreError) as caught:
            await secrets.put(ALICE, scope, "key", b"sk-canary")
        api.failures.clear()
        assert "sk-canary" not in str(caught.value)
        assert base64.b64encode(b"sk-canary").decode() not in str(caught.value)
    assert "sk-canary" not in caplog.text and "alice-token" not in caplog.text
