"""Endpoints before the fake API server: what is found, who writes, races and refusals."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.names import CREATOR_ANNOTATION, OVERRIDE_ANNOTATION, RELOAD_ANNOTATION, object_name
from model_serving.kube.admin_pages import AdminPages
from model_serving.kube.client import Client
from model_serving.kube.labels import ENDPOINT_LABEL, MANAGED_BY_LABEL, OPERATOR
from model_serving.kube.revisions import revision_annotations, revision_body
from model_serving.kube.workspace.endpoint_store import KubeEndpoints
from model_serving.kube.workspace.pods import Pods
from model_serving.lifecycle.revision import Outcome, Revision, Shape
from model_serving.stores import Away, Changed, Denied, Locked, Stored, Taken, Unknown
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.kube.workspace.conftest import ALICE, BOB, ENDPOINTS, NAMESPACE, REVISIONS, endpoint


@pytest.fixture
def endpoints(client: Client) -> KubeEndpoints:
    return KubeEndpoints(client, NAMESPACE, Pods(client, NAMESPACE, AdminPages(seconds=1)), patience=0.5)


def parsed(name: str, **spec: Any) -> ServingEndpoint:
    return ServingEndpoint.model_validate(endpoint(name, **spec))


def named(name: str, **spec: Any) -> ServingEndpoint:
    """An endpoint as REST makes it: the object has a slug of its name."""
    return parsed(object_name(name), endpointName=name, **spec)


def annotated(of: ServingEndpoint, **annotations: str) -> ServingEndpoint:
    return of.model_copy(update={"metadata": of.metadata.model_copy(update={"annotations": annotations})})


async def found(endpoints: KubeEndpoints, name: str) -> Stored:
    stored = await endpoints.find(name)
    assert stored is not None
    return stored


def token_of(api: FakeKubeApi, method: str) -> list[str]:
    return [token for asked, token in api.tokens if asked == method]


async def test_a_write_goes_out_with_the_callers_token_and_reads_with_our_own(
    api: FakeKubeApi, endpoints: KubeEndpoints
) -> None:
    made = await endpoints.create(ALICE, named("Chat_Bot"))
    assert made.endpoint.endpoint_name == "Chat_Bot" and made.endpoint.metadata.uid
    stored = await found(endpoints, "Chat_Bot")
    await endpoints.replace(ALICE, stored, annotated(stored.endpoint, a="b"))
    await endpoints.delete(ALICE, await found(endpoints, "Chat_Bot"))
    for method in ("POST", "PUT", "DELETE"):
        assert token_of(api, method) == ["alice-token"], method
    assert set(token_of(api, "GET")) == {"a-token"}
    assert all(r[2]["fieldManager"] == "model-serving-management" for r in api.requests if r[0] in ("POST", "PUT"))
    assert await endpoints.find("Chat_Bot") is None


async def test_an_endpoint_of_any_object_name_is_found_by_its_own(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    api.put(ENDPOINTS, endpoint("another", endpointName="Chat_Bot"))
    assert (await found(endpoints, "Chat_Bot")).endpoint.metadata.name == "another"
    assert await endpoints.find("another") is None, "nobody calls it so"


async def test_of_two_with_one_name_the_older_is_meant(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    younger = endpoint("chat")
    younger["status"] = {"conditions": [{"type": "Stalled", "status": "True", "reason": "NameConflict"}]}
    older = endpoint("another", endpointName="chat")
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    api.put(ENDPOINTS, younger)
    api.put(ENDPOINTS, older)
    assert (await found(endpoints, "chat")).endpoint.metadata.name == "another"
    assert [s.endpoint.metadata.name for s in await endpoints.all()] == ["another", "chat"], "oldest first"


async def test_one_that_is_ending_is_not_there(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    ending = endpoint("chat")
    ending["metadata"]["deletionTimestamp"] = "2026-01-03T00:00:00Z"
    api.put(ENDPOINTS, ending)
    assert await endpoints.find("chat") is None and await endpoints.all() == []


@pytest.mark.parametrize("name", ["", "a,b", "a=b", "../secrets", "x" * 64, "name\n", "ümlaut"])
async def test_what_can_be_no_name_is_not_looked_for(api: FakeKubeApi, endpoints: KubeEndpoints, name: str) -> None:
    assert await endpoints.find(name) is None
    assert api.requests == []


async def test_the_history_is_the_endpoints_own(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    uid = api.put(ENDPOINTS, endpoint("chat"))["metadata"]["uid"]
    for number, owner in ((2, uid), (1, uid), (3, "a-former-namesake")):
        revision = Revision("chat", {"servedEntities": []}, number, Shape(), number, outcome=Outcome.SERVED)
        metadata = {
            "name": f"chat-{number}",
            "labels": {ENDPOINT_LABEL: "chat", MANAGED_BY_LABEL: OPERATOR},
            "annotations": revision_annotations(revision),
            "ownerReferences": [{"uid": owner}],
        }
        api.put(REVISIONS, {"metadata": metadata, **revision_body(revision)})
    assert [r.number for r in (await found(endpoints, "chat")).history] == [1, 2]
    assert [[r.number for r in s.history] for s in await endpoints.all()] == [[1, 2]]
    stored = await found(endpoints, "chat")
    assert (await endpoints.replace(ALICE, stored, annotated(stored.endpoint, a="b"))).history == stored.history


async def test_a_taken_name_is_refused_whoever_has_it(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    api.put(ENDPOINTS, endpoint("another", endpointName="Chat_Bot"))
    with pytest.raises(Taken, match="Chat_Bot exists already"):
        await endpoints.create(ALICE, named("Chat_Bot"))
    api.put(ENDPOINTS, endpoint(object_name("Bot_Chat"), endpointName="squatter"))
    with pytest.raises(Taken):
        await endpoints.create(ALICE, named("Bot_Chat"))
    assert token_of(api, "POST") == ["alice-token"], "the second one only the API server could refuse"


async def test_a_name_whose_object_is_ending_is_free_once_it_is_gone(
    api: FakeKubeApi, endpoints: KubeEndpoints
) -> None:
    old = endpoint("chat")
    old["metadata"] |= {"finalizers": ["somebody.example/wait"], "deletionTimestamp": "2026-01-03T00:00:00Z"}
    api.put(ENDPOINTS, old)
    creating = asyncio.create_task(endpoints.create(ALICE, parsed("chat")))
    await asyncio.sleep(0.15)
    assert not creating.done()
    api.remove(ENDPOINTS, "chat")
    assert (await creating).endpoint.metadata.name == "chat"


async def test_a_name_whose_object_does_not_end_is_taken(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    old = endpoint("chat")
    old["metadata"] |= {"finalizers": ["somebody.example/wait"], "deletionTimestamp": "2026-01-03T00:00:00Z"}
    api.put(ENDPOINTS, old)
    with pytest.raises(Taken):
        await endpoints.create(ALICE, parsed("chat"))


async def test_a_write_over_a_newer_object_is_told_and_does_not_happen(
    api: FakeKubeApi, endpoints: KubeEndpoints
) -> None:
    api.put(ENDPOINTS, endpoint("chat"))
    first, second = await found(endpoints, "chat"), await found(endpoints, "chat")
    await endpoints.replace(ALICE, first, annotated(first.endpoint, by="first"))
    with pytest.raises(Changed):
        await endpoints.replace(ALICE, second, annotated(second.endpoint, by="second"))
    assert api.get(ENDPOINTS, "chat")["metadata"]["annotations"] == {"by": "first"}


async def test_a_config_that_has_to_rest_is_not_sent(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    running = endpoint("chat")
    running["status"] = {"observedGeneration": 1, "state": {"configUpdate": "IN_PROGRESS", "ready": "NOT_READY"}}
    api.put(ENDPOINTS, running)
    stored = await found(endpoints, "chat")
    other = endpoint("chat")
    other["spec"]["config"]["servedEntities"][0]["name"] = "other"
    wanted = stored.endpoint.model_copy(update={"spec": ServingEndpoint.model_validate(other).spec})
    with pytest.raises(Locked, match="an update is in progress"):
        await endpoints.replace(ALICE, stored, wanted)
    assert api.writes() == []
    await endpoints.replace(ALICE, stored, annotated(wanted, **{OVERRIDE_ANNOTATION: "1"}))
    stored = await found(endpoints, "chat")
    await endpoints.replace(ALICE, stored, annotated(stored.endpoint, **{RELOAD_ANNOTATION: "x"}))


async def test_a_missing_right_is_denied_by_name(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    api.put(ENDPOINTS, endpoint("chat"))
    stored = await found(endpoints, "chat")
    api.people.denied = {("bob", verb, "servingendpoints") for verb in ("create", "update", "delete")}
    with pytest.raises(Denied, match="bob may not create the serving endpoint new in namespace gen-ai"):
        await endpoints.create(BOB, parsed("new"))
    with pytest.raises(Denied, match=r"bob may not update .* or somebody who manages the endpoint for CAN_MANAGE"):
        await endpoints.replace(BOB, stored, annotated(stored.endpoint, a="b"))
    with pytest.raises(Denied, match="bob may not delete"):
        await endpoints.delete(BOB, stored)
    assert api.get(ENDPOINTS, "chat")


async def test_who_made_an_endpoint_manages_it_as_soon_as_the_operator_has_seen_it(
    api: FakeKubeApi, endpoints: KubeEndpoints
) -> None:
    mine = endpoint("chat")
    mine["metadata"] |= {
        "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "annotations": {CREATOR_ANNOTATION: "bob"},
    }
    api.put(ENDPOINTS, mine)
    api.people.denied = {("bob", "update", "servingendpoints"), ("bob", "delete", "servingendpoints")}
    stored = await found(endpoints, "chat")
    writing = asyncio.create_task(endpoints.replace(BOB, stored, stored.endpoint))
    await asyncio.sleep(0.1)
    assert not writing.done()
    api.people.denied.clear()
    await writing
    api.people.denied = {("alice", "delete", "servingendpoints")}
    with pytest.raises(Denied):
        await endpoints.delete(ALICE, await found(endpoints, "chat"))
    assert len(token_of(api, "DELETE")) == 1, "alice is told at once"


async def test_an_object_that_is_gone_is_unknown_to_an_update_and_fine_for_a_deletion(
    api: FakeKubeApi, endpoints: KubeEndpoints
) -> None:
    api.put(ENDPOINTS, endpoint("chat"))
    stored = await found(endpoints, "chat")
    api.remove(ENDPOINTS, "chat")
    with pytest.raises(Unknown):
        await endpoints.replace(ALICE, stored, stored.endpoint)
    await endpoints.delete(ALICE, stored)


async def test_a_deletion_never_meets_a_namesake(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    api.put(ENDPOINTS, endpoint("chat"))
    stored = await found(endpoints, "chat")
    api.remove(ENDPOINTS, "chat")
    api.put(ENDPOINTS, endpoint("chat"))
    await endpoints.delete(ALICE, stored)
    assert await endpoints.find("chat") is not None


async def test_a_deletion_does_not_wait_for_strangers_for_ever(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    held = endpoint("chat")
    held["metadata"]["finalizers"] = ["somebody.example/wait"]
    api.put(ENDPOINTS, held)
    await endpoints.delete(ALICE, await found(endpoints, "chat"))
    assert await endpoints.find("chat") is None


async def test_a_cluster_that_gives_no_answer_is_away(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    api.failures.append(Failure(503, times=99))
    with pytest.raises(Away):
        await endpoints.all()
    with pytest.raises(Away):
        await endpoints.find("chat")
    with pytest.raises(Away):
        await endpoints.create(ALICE, parsed("chat"))


async def test_rights_that_the_workspace_lacks_are_not_the_callers_fault(
    api: FakeKubeApi, endpoints: KubeEndpoints
) -> None:
    api.people.denied.add(("workspace", "list", "servingendpoints"))
    with pytest.raises(Away, match="apply manifests/workspace again"):
        await endpoints.all()


async def test_what_is_written_is_seen_by_every_replica_at_once(api: FakeKubeApi, endpoints: KubeEndpoints) -> None:
    async with Client(api.connection) as other:
        replica = KubeEndpoints(other, NAMESPACE, Pods(other, NAMESPACE, AdminPages(seconds=1)))
        for _ in range(3):
            made = await endpoints.create(ALICE, parsed("chat"))
            assert (await found(replica, "chat")).endpoint.metadata.uid == made.endpoint.metadata.uid
            await replica.delete(ALICE, await found(replica, "chat"))
            assert await endpoints.find("chat") is None


async def test_a_younger_object_does_not_take_a_name_before_the_operator_has_seen_it(
    api: FakeKubeApi, endpoints: KubeEndpoints
) -> None:
    """Else whoever may make endpoints would be sent what others write to theirs."""
    older = endpoint("made-with-kubectl", endpointName="chat")
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    api.put(ENDPOINTS, older)
    api.put(ENDPOINTS, endpoint("chat"))
    assert (await found(endpoints, "chat")).endpoint.metadata.name == "made-with-kubectl"
