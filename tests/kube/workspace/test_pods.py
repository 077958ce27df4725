"""What proxies say, gathered from their pods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from model_serving.kube.admin_pages import AdminPages
from model_serving.kube.client import Client
from model_serving.kube.labels import labels_of_pods
from model_serving.kube.workspace.pods import Pods, merge_pages
from tests.fakes.kube_api import FakeKubeApi
from tests.kube.workspace.conftest import NAMESPACE, PODS

PAGE = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{endpoint="chat"} 1
calls_total{endpoint="}{"} 2
# HELP up Up.
# TYPE up gauge
up 1
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 3
seconds_sum{} 4
seconds_count 3
"""


def test_pages_become_one_with_a_label_for_the_pod() -> None:
    merged = merge_pages([("one", PAGE), ("two", PAGE), ("three", "")])
    assert merged.splitlines() == [
        "# HELP calls_total Calls.",
        "# TYPE calls_total counter",
        'calls_total{pod="one",endpoint="chat"} 1',
        'calls_total{pod="one",endpoint="}{"} 2',
        'calls_total{pod="two",endpoint="chat"} 1',
        'calls_total{pod="two",endpoint="}{"} 2',
        "# HELP up Up.",
        "# TYPE up gauge",
        'up{pod="one"} 1',
        'up{pod="two"} 1',
        "# HELP seconds Time.",
        "# TYPE seconds histogram",
        'seconds_bucket{pod="one",le="+Inf"} 3',
        'seconds_sum{pod="one"} 4',
        'seconds_count{pod="one"} 3',
        'seconds_bucket{pod="two",le="+Inf"} 3',
        'seconds_sum{pod="two"} 4',
        'seconds_count{pod="two"} 3',
    ]


def test_the_merged_page_is_one_that_prometheus_reads() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    families = {f.name: f for f in text_string_to_metric_families(merge_pages([("one", PAGE), ("two", PAGE)]))}
    assert {s.labels["pod"] for s in families["seconds"].samples} == {"one", "two"}


def test_nothing_comes_of_nothing() -> None:
    assert merge_pages([]) == ""


def pod(name: str, address: str = "", restarts: int = 0, of: str = "chat") -> dict[str, Any]:
    status = {"podIP": address, "containerStatuses": [{"name": "proxy", "restartCount": restarts}]}
    return {"metadata": {"name": name, "labels": labels_of_pods(of)}, "status": status}


@pytest.fixture
async def proxy() -> AsyncIterator[Callable[[], int]]:
    """The admin port of a proxy on loopback; says where."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE)

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield lambda: int(runner.addresses[0][1])
    await runner.cleanup()


async def test_metrics_are_those_of_the_endpoints_own_pods_that_answer(
    api: FakeKubeApi, client: Client, proxy: Callable[[], int]
) -> None:
    for each in (pod("a", "127.0.0.1"), pod("b", "127.0.0.2"), pod("c"), pod("x", "127.0.0.1", of="other")):
        api.put(PODS, each)
    async with AdminPages(seconds=20) as pages:
        text = await Pods(client, NAMESPACE, pages, port=proxy()).metrics("chat")
    assert 'up{pod="a"} 1' in text and 'pod="b"' not in text and 'pod="x"' not in text


async def test_logs_are_told_by_pod_with_the_run_before_a_crash(api: FakeKubeApi, client: Client) -> None:
    api.put(PODS, pod("a", restarts=1))
    api.put(PODS, pod("b"))
    api.logs = {("a", False): "now\n", ("a", True): "before\n", ("b", False): ""}
    pods = Pods(client, NAMESPACE, AdminPages(seconds=1))
    assert await pods.logs("chat") == "==> a (previous run) <==\nbefore\n==> a <==\nnow\n"
    assert api.requests[-1][2]["tailLines"] == "200"


async def test_a_deleted_namesakes_pods_are_left_out(
    api: FakeKubeApi, client: Client, proxy: Callable[[], int]
) -> None:
    """They drain for minutes, and their lines name the callers of an endpoint that was somebody else's."""
    for name, made in (("old", "2026-01-02T03:04:04Z"), ("new", "2026-01-02T03:04:05Z")):
        each = pod(name, "127.0.0.1")
        each["metadata"]["creationTimestamp"] = made
        api.put(PODS, each)
    api.logs = {("old", False): "ada called\n", ("new", False): "bob called\n"}
    async with AdminPages(seconds=20) as pages:
        pods = Pods(client, NAMESPACE, pages, port=proxy())
        assert await pods.logs("chat", "2026-01-02T03:04:05Z") == "==> new <==\nbob called\n"
        assert 'pod="old"' not in await pods.metrics("chat", "2026-01-02T03:04:05Z")
