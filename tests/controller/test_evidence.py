"""What is seen of a roll-out: Deployment, pods, and what proxies say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from model_serving.api.conditions import Cause, Reason
from model_serving.controller.desired.deployment import REVISION
from model_serving.controller.evidence import Observer, rollout_of
from model_serving.controller.pod_causes import pod_findings
from model_serving.controller.proxy_reader import ProxyReader
from model_serving.kube.client import Client
from model_serving.lifecycle.observed import Finding
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialReport, ProxyStatus, TokenReport
from tests.controller.factory import owner
from tests.fakes.kube_api import FakeKubeApi

Json = dict[str, Any]


def deployment(status: Json | None = None, replicas: int = 2, conditions: Any = ()) -> Json:
    full = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, **(status or {})}
    return {
        "metadata": {"name": "chat", "generation": 3},
        "spec": {"replicas": replicas, "template": {"metadata": {"annotations": {REVISION: "new"}}}},
        "status": {**full, "conditions": list(conditions)},
    }


def test_a_complete_roll_out() -> None:
    rollout = rollout_of(deployment())
    assert rollout.complete and rollout.revision == "new"
    assert (rollout.replicas, rollout.pods, rollout.ready, rollout.updated_ready) == (2, 2, 2, 2)


INCOMPLETE = [
    pytest.param({"observedGeneration": 2}, id="the controller has not looked yet"),
    pytest.param({"readyReplicas": 1}, id="one is not ready"),
    pytest.param({"replicas": 3, "readyReplicas": 3}, id="an old one is still there"),
    pytest.param({"updatedReplicas": 0}, id="none is new"),
    pytest.param({"replicas": None, "updatedReplicas": None, "readyReplicas": None}, id="nothing is there"),
]


@pytest.mark.parametrize("status", INCOMPLETE)
def test_an_incomplete_roll_out(status: Json) -> None:
    assert not rollout_of(deployment(status)).complete


def test_deadline_and_refusal_are_in_the_conditions() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    rollout = rollout_of(deployment(conditions=[late, failure]))
    assert rollout.deadline_exceeded and rollout.refusal == "exceeded quota"
    over = {**failure, "status": "False"}
    assert rollout_of(deployment(conditions=[over])).refusal == ""


def waiting(reason: str, message: str = "") -> Json:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int, reason: str = "Error", message: str = "") -> Json:
    return {
        "lastState": {"terminated": {"exitCode": code, "reason": reason, "message": message}},
        **waiting("CrashLoopBackOff", "back-off 40s"),
    }


PULL = 'Back-off pulling image "x": ErrImagePull: not found'
PODS = [
    pytest.param(waiting("ImagePullBackOff", PULL), Cause.IMAGE_PULL_FAILED, "not found", id="back-off of a pull"),
    pytest.param(waiting("ErrImagePull", "not found"), Cause.IMAGE_PULL_FAILED, "not found", id="a failed pull"),
    pytest.param(waiting("InvalidImageName", "bad"), Cause.IMAGE_PULL_FAILED, "bad", id="a bad name"),
    pytest.param(
        ended(1, message="a\n2026-01-01T00:00:00Z boom\n"),
        Cause.PROXY_CRASH_LOOPING,
        "code 1, its last words: boom",
        id="a crash",
    ),
    pytest.param(
        ended(1, message='boom\n{"type":"call","principal":"ada"}\n[x] {"type":"call","ts":"'),
        Cause.PROXY_CRASH_LOOPING,
        "code 1, its last words: boom",
        id="a crash after calls: the access log is no last word",
    ),
    pytest.param(ended(137, "OOMKilled"), Cause.OUT_OF_MEMORY, "limits.memory", id="out of memory"),
    pytest.param(
        ended(128, "StartError", "limit too low"), Cause.CREATE_CONTAINER_FAILED, "limit too low", id="cannot start"
    ),
    pytest.param(waiting("CreateContainerConfigError", "no map"), Cause.CREATE_CONTAINER_FAILED, "no map", id="config"),
]


@pytest.mark.parametrize(("container", "cause", "words"), PODS)
def test_a_pods_own_status_names_the_cause(container: Json, cause: Cause, words: str) -> None:
    status = {"containerStatuses": [{"name": "proxy", "image": "x", "ready": False, **container}]}
    (finding,) = pod_findings({"metadata": {}, "status": status})
    assert finding.reason == cause
    assert words in finding.message
    assert "back-off" not in finding.message, "what changes from try to try would be a write each time"


def test_the_scheduler_is_quoted() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert pod_findings({"metadata": {}, "status": {"conditions": [condition]}}) == [
        Finding(Cause.UNSCHEDULABLE, "no node takes a proxy: 0/3 nodes")
    ]


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_starts_is_no_finding(reason: str) -> None:
    status = {"containerStatuses": [{"name": "proxy", "ready": False, **waiting(reason)}]}
    assert pod_findings({"metadata": {}, "status": status}) == []


class Proxy:
    """The admin port of proxies: one answer for all."""

    def __init__(self) -> None:
        self.status: ProxyStatus | None = None
        self.asked = 0
        self.port = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.status is None:
            return web.Response(status=500)
        return web.Response(body=msgspec.json.encode(self.status))


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    it = Proxy()
    app = web.Application()
    app.router.add_get("/status", it.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.port = runner.addresses[0][1]
    yield it
    await runner.cleanup()


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        yield fake


@pytest.fixture
async def observer(api: FakeKubeApi, proxy: Proxy) -> AsyncIterator[Observer]:
    async with Client(api.connection) as client, ProxyReader() as reader:
        yield Observer(client, reader, admin_port=proxy.port)


def pod(name: str, revision: str = "new", ready: bool = True, **meta: Any) -> Json:
    labels = {"app.kubernetes.io/name": "model-serving-proxy", "model-serving.dev/endpoint": "chat"}
    references = [{"kind": "ReplicaSet", "uid": "x"}]
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {REVISION: revision},
            "ownerReferences": references,
            **meta,
        },
        "status": {"podIP": "127.0.0.1", "conditions": [condition], "phase": "Running"},
    }


def fill(api: FakeKubeApi, *pods: Json) -> None:
    for each in pods:
        api.put("/api/v1/namespaces/gen-ai/pods", each)


def status(ready: bool = True, **fields: Any) -> ProxyStatus:
    return ProxyStatus(endpoint="chat", revision="new", config_version=1, ready=ready, **fields)


async def test_a_settled_roll_out_costs_no_request(api: FakeKubeApi, observer: Observer, proxy: Proxy) -> None:
    evidence = await observer.gather(owner(), deployment(), detail=False)
    assert evidence.rollout is not None and evidence.rollout.complete
    assert evidence.proxies is None
    assert (api.requests, proxy.asked) == ([], 0)


async def test_detail_is_what_ready_proxies_say(api: FakeKubeApi, observer: Observer, proxy: Proxy) -> None:
    fill(api, pod("a"), pod("b"))
    proxy.status = status(policy_version="p1")
    evidence = await observer.gather(owner(), deployment(), detail=True)
    assert [p.policy_version for p in evidence.proxies or ()] == ["p1", "p1"]


async def test_without_a_deployment_there_is_nothing(observer: Observer) -> None:
    assert (await observer.gather(owner(), None, detail=True)).rollout is None


async def test_pods_tell_whose_the_ready_ones_are(api: FakeKubeApi, observer: Observer) -> None:
    fill(
        api,
        pod("old", "old"),
        pod("new-ready"),
        pod("new-waiting", ready=False),
        pod("leaving", "old", deletionTimestamp="now"),
        pod("not-ours", ownerReferences=[]),
    )
    mixed = deployment({"replicas": 3, "updatedReplicas": 2, "readyReplicas": 2})
    rollout = (await observer.gather(owner(), mixed, detail=False)).rollout
    assert rollout is not None
    assert (rollout.pods, rollout.ready, rollout.updated, rollout.updated_ready) == (3, 2, 2, 1)
    assert not rollout.complete


async def test_a_missing_secret_is_named_by_the_proxy(api: FakeKubeApi, observer: Observer, proxy: Proxy) -> None:
    fill(api, pod("a", ready=False))
    report = CredentialReport(secret="my-scope", key="openai", problem=CREDENTIAL_MISSING)
    proxy.status = status(ready=False, credentials=[report], problems=["credential missing"])
    evidence = await observer.gather(owner(), deployment({"readyReplicas": 0}, 1), detail=False)
    assert evidence.rollout is not None
    (finding,) = evidence.rollout.findings
    assert finding.reason == Reason.SECRET_NOT_FOUND
    assert "Secret my-scope with key openai" in finding.message
    assert evidence.proxies == ()


TOKEN = TokenReport("Entra ID token of client c", problem="Entra ID refuses: correct the key k of Secret s")


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        pytest.param("", f"{Cause.TOKEN_NOT_FETCHED} {TOKEN.name}: {TOKEN.problem}", id="the service's words are told"),
        pytest.param(CREDENTIAL_MISSING, f"{Reason.SECRET_NOT_FOUND} Secret s", id="the Secret's absence explains it"),
    ],
)
async def test_a_token_that_cannot_be_fetched_is_told(
    api: FakeKubeApi, observer: Observer, proxy: Proxy, problem: str, told: str
) -> None:
    crashed = pod("a", ready=False)
    crashed["status"]["containerStatuses"] = [{"name": "proxy", "ready": False, **ended(1, message="boom")}]
    fill(api, crashed)
    report = CredentialReport(secret="s", key="k", problem=problem)
    proxy.status = status(ready=False, credentials=[report], tokens=[TOKEN], problems=["a", "b"])
    evidence = await observer.gather(owner(), deployment({"readyReplicas": 0}, 1), detail=False)
    assert evidence.rollout is not None
    (finding,) = evidence.rollout.findings
    assert f"{finding.reason} {finding.message}".startswith(told)


async def test_another_problem_is_quoted_and_comes_first(api: FakeKubeApi, observer: Observer, proxy: Proxy) -> None:
    crashing = pod("b", ready=False)
    crashing["status"]["containerStatuses"] = [{"name": "proxy", "ready": False, **ended(1, message="boom")}]
    fill(api, pod("a", ready=False), crashing)
    proxy.status = status(ready=False, problems=["config: unreadable"])
    evidence = await observer.gather(owner(), deployment({"readyReplicas": 0}), detail=False)
    assert evidence.rollout is not None
    assert [f.reason for f in evidence.rollout.findings] == [Cause.PROXY_CRASH_LOOPING, Cause.NOT_READY]
    assert "config: unreadable" in evidence.rollout.findings[1].message


async def test_a_proxy_that_cannot_be_asked_changes_nothing(api: FakeKubeApi, observer: Observer, proxy: Proxy) -> None:
    fill(api, pod("a"), pod("b"))
    evidence = await observer.gather(owner(), deployment(), detail=True)
    assert evidence.rollout is not None and evidence.rollout.complete
    assert evidence.proxies == ()
