"""The front door of a namespace on real pods: who comes in, where calls go, and what goes on while parts are down."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster import samples
from tests.cluster.harness import Cluster
from tests.cluster.installed import PROVIDER, Installed, apply_folder, rolled_out
from tests.cluster.load import Load

WORKSPACE = Path(__file__).parents[2] / "manifests" / "workspace"
ACCOUNT = "model-serving-workspace"
SETTINGS = {"MODEL_SERVING_DRAIN_DELAY_SECONDS": "3", "MODEL_SERVING_MAX_REQUEST_SECONDS": "60"}
CHAT = samples.config(samples.model("demo-chat", "chat", PROVIDER))
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello there"}]}
ACCESS = [
    {"kind": "User", "name": samples.CALLER, "permissionLevel": "CAN_QUERY"},
    {"kind": "User", "name": "alice", "permissionLevel": "CAN_QUERY"},
    {"kind": "ServiceAccount", "name": "app", "permissionLevel": "CAN_QUERY"},
]
SNIFF = """
import socket, sys, time
listen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
listen.settimeout(0.2)
pods, until = {socket.inet_aton(word) for word in sys.argv[2:]}, time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    try:
        frame = listen.recv(65535)
    except TimeoutError:
        continue
    if frame[12:14] == b"\\x08\\x00" and frame[30:34] in pods:
        segment = frame[14 + 4 * (frame[14] & 15):]
        sys.stdout.write(segment[4 * (segment[12] >> 4):].decode("latin-1"))
"""
"""Prints whatever goes to the pods with these addresses for some seconds."""


@dataclass
class Door:
    """The workspace of a namespace, with the endpoint `chat` behind it."""

    installed: Installed
    space: str
    url: str

    @property
    def cluster(self) -> Cluster:
        return self.installed.cluster

    def token(self, account: str, *audience: str) -> str:
        """A token that the API server makes for a ServiceAccount."""
        words = [f"--audience={name}" for name in audience]
        return self.cluster.kubectl("create", "token", account, "-n", self.space, *words).stdout.strip()

    def call(self, token: str, name: str = "chat", body: dict[str, Any] | None = None) -> httpx.Response:
        """One call through the door."""
        url = f"{self.url}/serving-endpoints/{name}/invocations"
        return httpx.post(url, json=body or HELLO, headers=bearer(token), timeout=90)

    def load(self, token: str) -> Load:
        """Steady calls and streams through the door."""
        return Load(f"{self.url}/serving-endpoints", token, "chat")

    def routers(self) -> list[dict[str, Any]]:
        """The pods of the workspace."""
        found = self.cluster.list("pods", self.space, selector=f"app.kubernetes.io/name={ACCOUNT}")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def door(installed: Installed) -> Iterator[Door]:
    """The workspace, installed by somebody who is admin of nothing but its namespace."""
    cluster, space = installed.cluster, installed.namespace("workspace")
    for account in ("app", "web"):
        cluster.kubectl("create", "serviceaccount", account, "-n", space)
    cluster.kubectl("create", "rolebinding", "alice", "--clusterrole=admin", "--user=alice", "-n", space)
    # What the controller manager adds to admin of the operator's roles comes a moment after them.
    cluster.wait_for(lambda: may(cluster, space, "alice", "list", "servingendpoints"), 30, "alice's rights")
    apply_folder(cluster, WORKSPACE, installed.image, SETTINGS, namespace=space, user="alice")
    installed.create(samples.endpoint("chat", space, CHAT, access=ACCESS))
    rolled_out(cluster, ACCOUNT, space)
    installed.ready(space, "chat")
    found = Door(installed, space, cluster.service_url(ACCOUNT, space))
    yield found
    for pod in found.routers():
        log = cluster.logs(pod["metadata"]["name"], space, "--all-containers")
        assert "Traceback" not in log, log[-4000:]
        assert "eyJ" not in log and samples.CALLER_KEY not in log, "no token is logged"


def may(cluster: Cluster, space: str, user: str, verb: str, kind: str) -> bool:
    asked = cluster.kubectl("auth", "can-i", verb, kind, "-n", space, f"--as={user}", check=False)
    return asked.stdout.strip() == "yes"


def test_callers_are_known_by_every_kind_of_token(door: Door) -> None:
    tokens = {
        "an account's token for the API server": (door.token("app"), 200),
        "an account's token for us": (door.token("app", "model-serving"), 200),
        "an account's token for somebody else": (door.token("app", "other"), 401),
        "an account without access": (door.token("web"), 403),
        "an opaque token that the API server knows": (door.cluster.token("alice"), 200),
        "one whose owner has no access": (door.cluster.token("bob"), 403),
        "one that nobody knows": ("unknown", 401),
        "an API key": (samples.CALLER_KEY, 200),
    }
    found = {kind: door.call(token).status_code for kind, (token, _) in tokens.items()}
    assert found == {kind: expected for kind, (_, expected) in tokens.items()}
    assert door.call(samples.CALLER_KEY, "nothing").status_code == 404


def test_the_router_itself_answers_discovery_with_one_number(door: Door) -> None:
    uid = door.cluster.get("namespace", door.space)["metadata"]["uid"]  # type: ignore[index]
    answers = {
        httpx.get(f"http://{pod['status']['podIP']}:8080/.well-known/databricks-config").json()["workspace_id"]
        for pod in door.routers()
    }
    assert len(answers) == 1 and answers.pop().isdigit() and uid


def test_streams_come_through_as_they_are_made(door: Door) -> None:
    body = HELLO | {"stream": True, "messages": [{"role": "user", "content": "[demo:events=10,pace=0.2] go"}]}
    url = f"{door.url}/serving-endpoints/chat/invocations"
    times: list[float] = []
    with httpx.stream("POST", url, json=body, headers=bearer(samples.CALLER_KEY), timeout=60) as answer:
        for line in answer.iter_lines():
            times += [time.monotonic()] if line.startswith("data:") else []
    assert answer.status_code == 200 and len(times) >= 10
    assert times[-1] - times[0] > 1, "not all at once at the end"


def test_a_call_right_after_apply_waits_for_the_first_start(door: Door) -> None:
    door.installed.create(samples.endpoint("fresh", door.space, CHAT))
    answer = door.call(samples.CALLER_KEY, "fresh")
    assert answer.status_code == 200, answer.text
    door.cluster.kubectl("delete", "sep", "fresh", "-n", door.space)
    door.cluster.wait_for(lambda: door.call(samples.CALLER_KEY, "fresh").status_code == 404, 20, "it to be gone")


def test_calls_spread_over_all_proxies_and_none_fails_when_one_goes(door: Door) -> None:
    scale(door, 2)
    with ThreadPoolExecutor(8) as pool:
        assert {a.status_code for a in pool.map(lambda _: door.call(samples.CALLER_KEY), range(60))} == {200}
    assert {each["metadata"]["labels"]["model-serving.dev/endpoint-uid"] for each in slices(door)} == {
        door.installed.endpoint(door.space, "chat")["metadata"]["uid"]
    }
    pods = [pod["metadata"]["name"] for pod in door.installed.pods(door.space, "chat")]
    served = {name: door.cluster.logs(name, door.space).count('"status":200') for name in pods}
    assert len(served) == 2 and min(served.values()) >= 10, served
    with door.load(samples.CALLER_KEY) as load:
        scale(door, 1)
        answer_more(door, load)
    assert not load.failures, load.failures[:5]


def answer_more(door: Door, load: Load) -> None:
    """Waits for some more answers, or the first failure."""
    enough = load.done["calls"] + 10
    door.cluster.wait_for(lambda: load.failures or load.done["calls"] >= enough, 60, "ten more calls")


def scale(door: Door, replicas: int) -> None:
    door.cluster.kubectl("scale", "sep", "chat", "-n", door.space, f"--replicas={replicas}")
    door.cluster.wait_for(lambda: len(addresses(door)) == replicas, 90, f"{replicas} ready proxies")


def slices(door: Door) -> list[dict[str, Any]]:
    return list(door.cluster.list("endpointslices", door.space, selector="kubernetes.io/service-name=chat"))


def addresses(door: Door) -> list[str]:
    ends = [end for each in slices(door) for end in each.get("endpoints") or [] if end["conditions"].get("ready")]
    return [end["addresses"][0] for end in ends]


@pytest.mark.usefixtures("real_machine")
def test_a_proxy_sees_the_routers_token_and_never_a_callers(door: Door) -> None:
    mine = door.token("app")
    pods = [pod["status"]["podIP"] for pod in door.installed.pods(door.space, "chat")]
    with ThreadPoolExecutor(1) as pool:
        sniffing = pool.submit(door.cluster.machine.run, sys.executable, "-c", SNIFF, "6", *pods)
        while not sniffing.done():
            assert {door.call(token).status_code for token in (mine, samples.CALLER_KEY)} == {200}
            time.sleep(0.2)
    seen = sniffing.result().stdout
    assert "x-model-serving-principal: system%3Aserviceaccount%3Aworkspace%3Aapp" in seen
    assert "authorization: bearer eyj" in seen.lower(), "the router shows its own"
    signature = mine.rpartition(".")[2]  # what comes before it may be in the router's token too
    assert not any(signature[at : at + 40] in seen for at in range(0, len(signature) - 40, 20))
    assert samples.CALLER_KEY not in seen


def test_metrics_and_logs_of_all_proxies_come_through_the_door(door: Door) -> None:
    """With the workspace's own rights to pods, and through the NetworkPolicies around them."""
    base, alice = f"{door.url}/api/2.0/serving-endpoints/chat", bearer(door.cluster.token("alice"))
    pods = door.cluster.list("pods", door.space, selector="model-serving.dev/endpoint=chat")
    metrics = httpx.get(f"{base}/metrics", headers=alice, timeout=60)
    assert metrics.status_code == 200, metrics.text
    logs = httpx.get(f"{base}/served-models/main/logs", headers=alice, timeout=60)
    assert logs.status_code == 200, logs.text
    for name in (pod["metadata"]["name"] for pod in pods):
        assert f'pod="{name}"' in metrics.text
        assert f"==> {name} <==" in logs.json()["logs"]
    assert httpx.get(f"{base}/served-models/main/logs", headers=bearer(door.token("web"))).status_code == 403


def test_the_account_can_look_and_nothing_else(door: Door) -> None:
    account = f"system:serviceaccount:{door.space}:{ACCOUNT}"
    for verb in ("create", "update", "patch", "delete"):
        assert not may(door.cluster, door.space, account, verb, "servingendpoints")
    for verb, kind in (("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("get", "configmaps")):
        assert not may(door.cluster, door.space, account, verb, kind)
    assert may(door.cluster, door.space, account, "watch", "servingendpoints")
    assert not may(door.cluster, "demo", account, "list", "servingendpoints")


@pytest.fixture
def real_machine(door: Door) -> None:
    """Skips where the inside of the cluster cannot be reached."""
    _ = door.cluster.machine


def test_a_new_release_of_the_door_fails_no_call_and_cuts_no_stream(door: Door) -> None:
    with door.load(samples.CALLER_KEY) as load:
        door.cluster.kubectl("rollout", "restart", f"deployment/{ACCOUNT}", "-n", door.space)
        rolled_out(door.cluster, ACCOUNT, door.space)
        answer_more(door, load)
    assert not load.failures, load.failures[:5]
    door.cluster.wait_for(lambda: len(door.routers()) == 2, 30, "the old pods to go")


@pytest.mark.usefixtures("real_machine")
def test_queries_go_on_while_management_is_down(door: Door) -> None:
    token = door.token("app")
    rest = f"{door.url}/api/2.0/serving-endpoints"
    door.cluster.wait_for(lambda: httpx.get(rest, headers=bearer(token)).status_code == 200, 30, "the REST API")
    with door.load(token) as load:
        door.cluster.machine.run("pkill", "-KILL", "-f", "bin/model-serving management")
        time.sleep(1)
        assert all(is_ready(pod) for pod in door.routers())
        door.cluster.wait_for(lambda: httpx.get(rest, headers=bearer(token)).status_code == 200, 30, "it to be back")
        answer_more(door, load)
    assert not load.failures, load.failures[:5]
    assert all(status["restartCount"] == 0 for pod in door.routers() for status in statuses(pod))


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["status"].get("containerStatuses", []), *pod["status"].get("initContainerStatuses", [])]


@pytest.mark.usefixtures("real_machine")
def test_without_an_api_server_queries_go_on_even_through_a_router_that_was_started_anew(door: Door) -> None:
    """Calls of those who are verified offline, by the copy of table and keys."""
    token, audience = door.token("app"), door.token("app", "model-serving")
    pods = door.routers()
    bases = [f"http://{pod['status']['podIP']}" for pod in pods]
    with api_server_stopped(door):
        with door.load(token) as before:
            answer_more(door, before)
        door.cluster.machine.run("pkill", "-KILL", "-f", "bin/model-serving router")
        for base in bases:
            door.cluster.wait_for(lambda base=base: ready(base), 40, "a router that was started anew")  # type: ignore[misc]
        with door.load(token) as after:
            answer_more(door, after)
        codes = {key: door.call(key).status_code for key in (audience, samples.CALLER_KEY)}
        unknown = door.call("unknown").status_code
    for load in (before, after):
        assert not load.failures, load.failures[:5]
    assert set(codes.values()) == {200}
    assert unknown == 503, "nobody can say whose token that is"
    restarts = [s["restartCount"] for pod in refreshed(door) for s in statuses(pod) if s["name"] == "router"]
    assert restarts == [1, 1]


def refreshed(door: Door) -> list[dict[str, Any]]:
    """The pods when the kubelet has told what happened while nobody listened."""

    def told() -> list[dict[str, Any]]:
        pods = door.routers()
        return pods if all(s["restartCount"] for p in pods for s in statuses(p) if s["name"] == "router") else []

    return door.cluster.wait_for(told, 60, "the pods' status")


def ready(base: str) -> bool:
    return httpx.get(f"{base}:8081/readyz", timeout=5).status_code == 200


@contextmanager
def api_server_stopped(door: Door) -> Iterator[None]:
    """The API server takes connections and answers nothing: the worst way to be away."""
    door.cluster.machine.run("pkill", "-STOP", "-x", "kube-apiserver")
    try:
        yield
    finally:
        door.cluster.machine.run("pkill", "-CONT", "-x", "kube-apiserver")
