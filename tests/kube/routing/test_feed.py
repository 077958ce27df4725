"""The feed over real sockets: what a router is told, when, and what no failure takes back."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from model_serving.kube.config import Connection
from model_serving.kube.credentials import StaticCredentials
from model_serving.kube.errors import KubeError
from model_serving.kube.issuers.settings import parse_issuers
from model_serving.kube.routing.feed import Feed
from model_serving.kube.routing.settings import FeedSettings
from model_serving.kube.workspace_id import workspace_id
from model_serving.proxy_config import Entry, EntryState, Issuer, News
from tests.fakes.kube_api import Failure, FakeKubeApi
from tests.kube.issuers.documents import CLUSTER, rsa
from tests.kube.routing.objects import ENDPOINTS_PATH, NAMESPACE, SLICES_PATH, endpoint, pod, slice_of


def token(**claims: Any) -> str:
    parts = ({"alg": "RS256"}, claims, {})
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)


class Router:
    """Remembers what it is told."""

    def __init__(self, api: FakeKubeApi) -> None:
        self.api = api
        self.tables: list[dict[str, Entry]] = []
        self.issuers: list[Issuer] = []
        self.workspace_id = ""

    def tell(self, news: News) -> None:
        if news.table is not None:
            self.tables.append(news.table)
        if news.issuers is not None:
            self.issuers = news.issuers
        self.workspace_id = news.workspace_id or self.workspace_id

    @property
    def table(self) -> dict[str, Entry]:
        return self.tables[-1] if self.tables else {}

    async def until(self, holds: Callable[[], object], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        fake.put("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "uid": "the-uid"}})
        fake.failures.append(answer("/openid/v1/jwks", {"keys": [rsa()]}))
        fake.failures.append(answer("/.well-known/openid-configuration", {"issuer": CLUSTER}))
        yield fake


@pytest.fixture
async def router(api: FakeKubeApi) -> AsyncIterator[Router]:
    told = Router(api)
    task = asyncio.create_task(feed(api).run(told.tell))
    yield told
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def answer(path: str, body: dict[str, Any], status: int = 200) -> Failure:
    return Failure(status, lambda r: r.path == path, 10**6, body=body)


def feed(api: FakeKubeApi, own: str = "opaque") -> Feed:
    return Feed(Connection(api.connection.server, StaticCredentials(own)), FeedSettings(NAMESPACE))


async def test_a_router_is_told_of_endpoints_proxies_issuers_and_its_number(router: Router, api: FakeKubeApi) -> None:
    await router.until(lambda: router.tables and router.issuers and router.workspace_id)
    assert router.table == {}, "an empty namespace is an empty table"
    assert router.workspace_id == workspace_id("the-uid")
    assert [(issuer.issuer, issuer.service_accounts) for issuer in router.issuers] == [(CLUSTER, True)]
    api.put(ENDPOINTS_PATH, endpoint(ready="False"))
    await router.until(lambda: "chat" in router.table)
    assert router.table["chat"].state is EntryState.STARTING
    api.put(SLICES_PATH, slice_of("chat", pod("10.0.0.1")))
    await router.until(lambda: router.table["chat"].addresses == ["10.0.0.1:8080"])
    api.remove(ENDPOINTS_PATH, "chat")
    await router.until(lambda: router.table == {})


async def test_slices_that_people_write_are_not_even_read(router: Router, api: FakeKubeApi) -> None:
    forged = slice_of("chat", pod("10.6.6.6"), name="forged")
    forged["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = "endpointslicemirroring-controller.k8s.io"
    api.put(SLICES_PATH, forged)
    api.put(ENDPOINTS_PATH, endpoint())
    api.put(SLICES_PATH, slice_of("chat", pod("10.0.0.1")))
    await router.until(lambda: "chat" in router.table and router.table["chat"].addresses)
    assert router.table["chat"].addresses == ["10.0.0.1:8080"]


async def test_the_first_table_is_whole(api: FakeKubeApi) -> None:
    api.put(ENDPOINTS_PATH, endpoint())
    api.put(SLICES_PATH, slice_of("chat", pod("10.0.0.1")))
    away = Failure(503, lambda r: r.path == SLICES_PATH, 2)
    api.failures.append(away)
    router = Router(api)
    task = asyncio.create_task(feed(api).run(router.tell))
    await router.until(lambda: router.tables)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert router.tables[0]["chat"].addresses == ["10.0.0.1:8080"], "never an endpoint without its proxies"


async def test_a_burst_of_changes_is_told_in_a_few_tables(router: Router, api: FakeKubeApi) -> None:
    await router.until(lambda: router.tables)
    for number in range(100):
        api.put(ENDPOINTS_PATH, endpoint(f"chat-{number}"))
    await router.until(lambda: len(router.table) == 100)
    assert len(router.tables) < 30
    before = len(router.tables)
    api.put(ENDPOINTS_PATH, endpoint("chat-1"))
    await asyncio.sleep(0.3)
    assert len(router.tables) == before, "what means the same is not told again"


async def test_no_gap_empties_the_table(router: Router, api: FakeKubeApi) -> None:
    api.put(ENDPOINTS_PATH, endpoint())
    api.put(SLICES_PATH, slice_of("chat", pod("10.0.0.1")))
    await router.until(lambda: router.table.get("chat", Entry()).addresses)
    told = len(router.tables)
    api.failures.append(Failure(503, lambda r: "namespaces/gen-ai" in r.path, 4))
    api.forget_history()
    api.cut_streams()
    await asyncio.sleep(0.5)
    api.put(SLICES_PATH, slice_of("chat", pod("10.0.0.1"), pod("10.0.0.2")))
    await router.until(lambda: len(router.table["chat"].addresses) == 2)
    assert all(table["chat"].addresses for table in router.tables[told:])


async def test_the_number_is_asked_for_until_it_is_known(api: FakeKubeApi) -> None:
    api.failures.append(Failure(403, lambda r: r.path == f"/api/v1/namespaces/{NAMESPACE}", 1))
    router = Router(api)
    task = asyncio.create_task(feed(api).run(router.tell))
    await router.until(lambda: router.workspace_id)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param(
            token(aud=["https://api.example"]), ["model-serving", "https://api.example"], id="its own token's"
        ),
        pytest.param(token(aud="api"), ["model-serving", "api"], id="one alone"),
        pytest.param(token(sub="me"), ["model-serving"], id="none said"),
        pytest.param("opaque", ["model-serving"], id="an opaque token says nothing"),
        pytest.param("a.!.c", ["model-serving"], id="what is no token says nothing"),
    ],
)
async def test_tokens_of_the_api_servers_audience_count(api: FakeKubeApi, own: str, expected: list[str]) -> None:
    router = Router(api)
    task = asyncio.create_task(feed(api, own).run(router.tell))
    await router.until(lambda: router.issuers)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert router.issuers[0].audiences == expected


async def test_issuers_that_cannot_be_read_yet_stay_as_they_were_recorded(api: FakeKubeApi) -> None:
    login = "https://login.example"
    recorded = [Issuer(CLUSTER, ["x"], [rsa("old")], service_accounts=True), Issuer(login, ["y"], [rsa("l")])]
    settings = FeedSettings(NAMESPACE, parse_issuers(json.dumps([{"issuer": login, "jwksUrl": "https://127.0.0.1:1"}])))
    router = Router(api)
    task = asyncio.create_task(Feed(api.connection, settings, recorded=lambda: recorded).run(router.tell))
    await router.until(lambda: router.issuers)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    kids = {issuer.issuer: [key["kid"] for key in issuer.keys] for issuer in router.issuers}
    assert kids == {CLUSTER: ["r1"], login: ["l"]}


async def test_reviews_go_out_with_the_callers_token_while_the_feed_runs(api: FakeKubeApi) -> None:
    told: list[str] = []

    def is_review(request: Any) -> bool:
        found = bool(request.path.endswith("/selfsubjectreviews"))
        told.extend([request.headers["Authorization"]] if found else [])
        return found

    body = {"status": {"userInfo": {"username": "alice", "groups": ["ml"]}}}
    api.failures.append(Failure(201, is_review, 9, body=body))
    of = feed(api)
    with pytest.raises(KubeError, match="not open yet"):
        await of.review(b"hers")
    router = Router(api)
    task = asyncio.create_task(of.run(router.tell))
    await router.until(lambda: router.tables)
    assert await of.review(b"hers") == ("alice", frozenset({"ml"}))
    assert await of.review("ümlaut".encode()) is None
    assert told == ["Bearer hers"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(KubeError):
        await of.review(b"hers")
