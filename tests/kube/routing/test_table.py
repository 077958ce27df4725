"""The router's table out of endpoints and slices: who is called where, and who is not."""

from __future__ import annotations

from typing import Any

import pytest

from model_serving.kube.resources import ENDPOINT_SLICES, ENDPOINTS
from model_serving.kube.routing.table import Table
from model_serving.proxy_config import Entry, EntryState, Grant
from tests.kube.routing.objects import NAMESPACE, Json, endpoint, pod, slice_of


class Told:
    """A table, and how often it said that it may be another."""

    def __init__(self) -> None:
        self.dirty = 0
        self.table = Table(NAMESPACE, "cluster.local", self._count)

    def _count(self) -> None:
        self.dirty += 1

    def see(self, *manifests: Json) -> dict[str, Entry]:
        for manifest in manifests:
            kind = ENDPOINTS if manifest["kind"] == "ServingEndpoint" else ENDPOINT_SLICES
            self.table.changed(kind, manifest)
        return self.table.entries()


@pytest.mark.parametrize(
    ("slices", "addresses"),
    [
        pytest.param([slice_of("chat", pod("10.0.0.2"), pod("10.0.0.1"))], ["10.0.0.1", "10.0.0.2"], id="in order"),
        pytest.param([slice_of("chat", pod("10.0.0.1", ready=False, serving=False))], [], id="not ready"),
        pytest.param([slice_of("chat", pod("10.0.0.1", ready=False, serving=True, terminating=True))], [], id="ending"),
        pytest.param([slice_of("chat", pod("10.0.0.1", serving=True))], ["10.0.0.1"], id="not said means ready"),
        pytest.param([slice_of("chat", {"addresses": ["10.0.0.1"]})], ["10.0.0.1"], id="nothing said at all"),
        pytest.param([slice_of("chat", {"addresses": []})], [], id="no address"),
        pytest.param([slice_of("chat", endpoints=None)], [], id="an empty slice"),
        pytest.param([slice_of("chat", pod("10.0.0.1"), ports=None)], [], id="no port yet"),
        pytest.param([slice_of("chat", pod("10.0.0.1"), port="metrics")], [], id="another port"),
        pytest.param(
            [slice_of("chat", pod("10.0.0.1"), name="a"), slice_of("chat", pod("10.0.0.1"), pod("10.0.0.2"), name="b")],
            ["10.0.0.1", "10.0.0.2"],
            id="several slices, one pod in two of them",
        ),
        pytest.param([slice_of("chatter", pod("10.0.0.1"))], [], id="another Service"),
        pytest.param([slice_of("chat", pod("10.0.0.1"), uid="of-a-former-one")], [], id="a deleted namesake's"),
        pytest.param([slice_of("chat", pod("10.0.0.1"), uid="")], ["10.0.0.1"], id="made by an older operator"),
        pytest.param([slice_of("chat", pod("host.example"), addressType="FQDN")], [], id="names are not called"),
    ],
)
def test_ready_proxies_are_called_and_no_others(slices: list[Json], addresses: list[str]) -> None:
    entry = Told().see(endpoint(), *slices)["chat"]
    assert entry.addresses == [f"{address}:8080" for address in addresses]
    assert entry.state == (EntryState.READY if addresses else EntryState.STARTING)


def test_of_two_address_families_one_is_called() -> None:
    six = slice_of("chat", pod("fd00::1"), name="six", addressType="IPv6")
    told = Told()
    assert told.see(endpoint(), six)["chat"].addresses == ["[fd00::1]:8080"]
    assert told.see(slice_of("chat", pod("10.0.0.1")))["chat"].addresses == ["10.0.0.1:8080"]


def test_proxies_that_speak_tls_are_called_so_by_the_services_name() -> None:
    entry = Told().see(endpoint(), slice_of("chat", pod("10.0.0.1"), port="https"))["chat"]
    assert (entry.tls, entry.server_name) == (True, "chat.gen-ai.svc.cluster.local")


@pytest.mark.parametrize(
    ("plain", "tls", "called"),
    [
        pytest.param(2, 1, ["10.0.0.0", "10.0.0.1"], id="most are the old ones"),
        pytest.param(1, 1, ["10.0.1.0"], id="as many: TLS"),
        pytest.param(1, 3, ["10.0.1.0", "10.0.1.1", "10.0.1.2"], id="most are the new ones"),
    ],
)
def test_while_tls_is_turned_on_those_are_called_that_most_proxies_are(plain: int, tls: int, called: list[str]) -> None:
    old = slice_of("chat", *(pod(f"10.0.0.{n}") for n in range(plain)), name="old")
    new = slice_of("chat", *(pod(f"10.0.1.{n}") for n in range(tls)), name="new", port="https")
    assert Told().see(endpoint(), old, new)["chat"].addresses == [f"{address}:8080" for address in called]


def test_clients_names_access_and_task_come_from_the_endpoint() -> None:
    access = [{"kind": "ServiceAccount", "name": "app", "permissionLevel": "CAN_QUERY"}]
    table = Told().see(endpoint("chat", endpointName="Chat_1", access=access), slice_of("chat", pod("10.0.0.1")))
    assert list(table) == ["Chat_1"]
    assert table["Chat_1"].grants == [Grant("user", "system:serviceaccount:gen-ai:app", "CAN_QUERY")]
    assert table["Chat_1"].task == "llm/v1/chat"


def test_the_older_of_two_endpoints_has_the_name_until_it_is_gone() -> None:
    told = Told()
    young = endpoint("young", endpointName="chat", created="2026-02-02T00:00:00Z")
    table = told.see(young, endpoint("old", endpointName="chat"), *(slice_of(n, pod(a)) for n, a in OWN_PODS))
    assert table["chat"].addresses == ["10.0.0.1:8080"] and len(table) == 1
    told.table.deleted(ENDPOINTS, NAMESPACE, "old", "uid-of-old")
    assert told.table.entries()["chat"].addresses == ["10.0.0.2:8080"]


OWN_PODS = (("old", "10.0.0.1"), ("young", "10.0.0.2"))


def test_an_endpoint_that_is_deleted_is_gone_at_once() -> None:
    told = Told()
    assert told.see(endpoint(), slice_of("chat", pod("10.0.0.1")))
    told.table.deleted(ENDPOINTS, NAMESPACE, "chat", "uid-of-chat")
    assert told.table.entries() == {}
    leaving = endpoint()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    assert told.see(endpoint()) and told.see(leaving) == {}, "waiting for somebody's finalizer is being gone too"


def test_a_slice_that_is_deleted_takes_its_proxies_along() -> None:
    told = Told()
    told.see(endpoint(), slice_of("chat", pod("10.0.0.1")))
    told.table.deleted(ENDPOINT_SLICES, NAMESPACE, "chat-abcde", "x")
    assert told.table.entries()["chat"].addresses == []
    assert told.dirty == 3


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param({"spec": {"config": {"servedEntities": [{"novelty": 1}]}}}, id="a spec of another release"),
        pytest.param({"status": {"conditions": "what"}}, id="a status of another release"),
        pytest.param({"status": None}, id="no status yet"),
    ],
)
def test_what_cannot_be_read_takes_nothing_else_along(spoilt: dict[str, Any]) -> None:
    proxies = [slice_of(name, pod(f"10.0.0.{n}")) for n, name in enumerate(("chat", "other"))]
    table = Told().see({**endpoint(), **spoilt}, endpoint("other"), *proxies)
    assert table["chat"].addresses == ["10.0.0.0:8080"], "its proxies serve on"
    assert table["other"].addresses == ["10.0.0.1:8080"]
