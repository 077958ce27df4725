"""Tokens that proxies fetch: a condition tells whether they could be renewed; a workload identity reaches the proxy."""

from __future__ import annotations

from datetime import timedelta

from model_serving.lifecycle.observed import Finding
from model_serving.lifecycle.proxy_config import build_proxy_config
from model_serving.lifecycle.revision import Revision, Shape
from model_serving.proxy_config import ProxyStatus, TokenReport
from tests.lifecycle.world import World

NAME = "Entra ID token of client c"


def world() -> World:
    return World().served()


def proxy(w: World, problem: str = "", minutes: int = 10, *, ready: bool = True) -> ProxyStatus:
    expires = (w.now + timedelta(minutes=minutes)).isoformat(timespec="seconds")
    return ProxyStatus("chat", "r", 1, ready, tokens=[TokenReport(NAME, "x", expires, problem)])


def condition(w: World) -> str:
    found = w.condition("TokensCurrent")
    return f"{found.status} {found.reason} {found.message}" if found else ""


def test_without_tokens_nothing_is_said() -> None:
    w = world()
    w.says = (ProxyStatus("chat", "r", 1, True),)
    w.look()
    assert condition(w) == ""


def test_the_condition_tells_whether_tokens_are_renewed() -> None:
    w = world()
    assert condition(w) == "", "nobody was asked yet"
    w.says = (proxy(w),)
    w.look()
    assert condition(w) == "True TokensRenewed tokens are renewed when they are due"
    w.says = (proxy(w), proxy(w, "Entra ID refuses: correct the key k of Secret s"))
    w.look()
    told = condition(w)
    assert told.startswith(f"False TokenNotRenewed {NAME}, which expires at ")
    assert told.endswith(
        ", cannot be renewed, the former one serves until then: Entra ID refuses: correct the key k of Secret s"
    )
    ready = w.condition("Ready")
    assert ready and ready.status == "True", "the former token serves"
    for nobody in (None, ()):
        w.says = nobody
        w.look()
        assert condition(w) == told, "the last word stands while nobody answers"
    w.says = (proxy(w),)
    w.look()
    assert condition(w).startswith("True")


def test_an_expired_token_is_told_first() -> None:
    w = world()
    w.says = (proxy(w, "later"), proxy(w, "sooner", minutes=-1))
    w.look()
    assert condition(w).endswith("cannot be renewed, calls that need it fail: sooner")


def test_proxies_on_their_way_say_nothing_here() -> None:
    w = world()
    w.says = (proxy(w), proxy(w, "no", ready=False))
    w.look()
    assert condition(w).startswith("True")


def test_a_pod_that_comes_later_and_gets_no_token_is_explained_while_others_serve() -> None:
    w = World()
    w.edit(proxy={"replicas": 2})
    w.served()
    w.proxies(ready=1, updated_ready=1, findings=(Finding("TokenNotFetched", "Entra ID refuses"),))
    w.look()
    ready = w.condition("Ready")
    assert ready and ready.status == "True"
    assert ready.message.startswith("config version 1 serves on 1 of 2 proxies: TokenNotFetched: Entra ID refuses")


def test_a_workload_identity_is_told_to_the_proxy() -> None:
    block = {"projectId": "p", "region": "europe-west4", "workloadIdentity": {}}
    model = {
        "name": "gemini",
        "provider": "google-cloud-vertex-ai",
        "task": "llm/v1/chat",
        "googleCloudVertexAiConfig": block,
    }
    config = {"servedEntities": [{"name": "chat", "externalModel": model}]}
    (target,) = build_proxy_config(Revision("chat", config, 3, Shape(image="proxy:1"), number=1)).targets
    assert target.settings == {"project_id": "p", "region": "europe-west4", "workload_identity": "true"}
