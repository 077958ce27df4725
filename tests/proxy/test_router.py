"""The router: one front door for all endpoints, with proxies behind it on real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from model_serving.proxy.control import Message, User
from model_serving.proxy.router_app import RouterService
from model_serving.proxy.settings import ProcessSettings, RouterSettings
from model_serving.proxy_config import Entry, EntryState, Grant
from tests.fakes.upstream import FakeUpstream, events_of, raw, silence, stream, whole
from tests.proxy.harness import MESSAGES, Answer, Running, call, chat, read_answer, request_bytes, until

USER = "dapi-ada"
AUTH = {"authorization": f"Bearer {USER}"}
GRANTS = [Grant("user", "ada", "CAN_QUERY")]


def users() -> dict[str, User]:
    return {hashlib.sha256(USER.encode()).hexdigest(): User("ada", ["data science", "ünïcode"])}


def entry(*ports: int, **changes: Any) -> Entry:
    return Entry(**({"addresses": [f"127.0.0.1:{port}" for port in ports], "grants": GRANTS} | changes))


def router(**settings: Any) -> Running:
    process = settings.pop("process", ProcessSettings())
    service = RouterService(RouterSettings(process=process, workspace_id="4711", **settings))
    service.message(Message(router_key="shared", users=users(), table={}))
    return Running(service)


def set_table(running: Running, **table: Entry) -> None:
    running.service.message(Message(table=table))


@pytest.fixture
async def front() -> AsyncIterator[Running]:
    async with router() as running:
        yield running


async def ask(front: Running, path: str = "/serving-endpoints/ep/invocations", **fields: Any) -> Answer:
    return await call(front.port, path, {"messages": MESSAGES} | fields, AUTH)


async def test_a_call_reaches_the_proxy_with_its_principal_and_comes_back(front: Running, running: Running) -> None:
    set_table(front, ep=entry(running.port))
    answer = await ask(front)
    assert answer.status == 200, answer
    assert answer.headers["served-model-name"] == "gpt"
    assert answer.headers["x-config-version"] == "3"


async def test_the_proxy_sees_principal_groups_and_key_but_never_the_callers_token(
    front: Running, upstream: FakeUpstream
) -> None:
    set_table(front, ep=entry(upstream.port))
    extra = {"x-model-serving-principal": "root", "cookie": "a=b", "x-request-id": "mine"}
    answer = await call(front.port, "/serving-endpoints/ep/invocations?a=b", {"messages": []}, AUTH | extra)
    assert answer.status == 200
    seen = upstream.requests[0]
    assert seen.path == "/serving-endpoints/ep/invocations?a=b"
    assert seen.header("x-model-serving-principal") == "ada"
    assert seen.header("x-model-serving-groups") == "data%20science,%C3%BCn%C3%AFcode"
    assert seen.header("x-model-serving-router-key") == "shared"
    assert seen.header("x-request-id") == "mine"
    assert seen.header("authorization") is None
    assert seen.header("cookie") is None
    assert seen.body == b'{"messages": []}'


async def test_openai_routes_find_the_endpoint_in_the_body(front: Running, running: Running) -> None:
    set_table(front, ep=entry(running.port))
    assert (await ask(front, "/serving-endpoints/chat/completions", model="ep")).status == 200
    answer = await ask(front, "/serving-endpoints/chat/completions", model="other")
    assert answer.status == 404
    assert answer.json["error"]["code"] == "ENDPOINT_NOT_FOUND"


async def test_a_stream_passes_event_by_event(front: Running, running: Running, upstream: FakeUpstream) -> None:
    set_table(front, ep=entry(running.port))
    go_on = asyncio.Event()

    async def halting(request, writer):  # type: ignore[no-untyped-def]
        first, *rest = events_of(request)
        await stream([first], end=False)(request, _Open(writer))
        await go_on.wait()
        for item in rest:
            writer.write(b"%x\r\n%b\r\n" % (len(item), item))
        writer.write(b"0\r\n\r\n")

    upstream.scripts.append(halting)
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    body = b'{"messages": [], "stream": true}'
    writer.write(request_bytes("POST", "/serving-endpoints/ep/invocations", body, AUTH))
    assert b"The " in await asyncio.wait_for(reader.readuntil(b"\n\n"), 10)
    go_on.set()
    assert b"data: [DONE]\n\n" in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
    writer.close()


class _Open:
    """A writer that does not close."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.write, self.drain = writer.write, writer.drain

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        pytest.param("/serving-endpoints/no/invocations", AUTH, 404, "ENDPOINT_NOT_FOUND", id="unknown endpoint"),
        pytest.param("/api/2.0/serving-endpoints", AUTH, 404, "RESOURCE_DOES_NOT_EXIST", id="no management"),
        pytest.param("/serving-endpoints/ep/invocations", {}, 401, "UNAUTHENTICATED", id="unknown token"),
        pytest.param("/serving-endpoints/ep/invocations", {"authorization": ""}, 401, "UNAUTHENTICATED", id="no token"),
        pytest.param("/serving-endpoints/down/invocations", AUTH, 503, "TEMPORARILY_UNAVAILABLE", id="not ready"),
        pytest.param("/serving-endpoints/palm/invocations", AUTH, 501, "NOT_IMPLEMENTED", id="never to be served"),
        pytest.param("/serving-endpoints/none/invocations", AUTH, 503, "TEMPORARILY_UNAVAILABLE", id="no address"),
        pytest.param("/serving-endpoints/dead/invocations", AUTH, 503, "TEMPORARILY_UNAVAILABLE", id="nobody listens"),
    ],
)
async def test_what_cannot_be_routed_is_refused(
    front: Running, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    set_table(
        front,
        ep=entry(1),
        down=entry(state=EntryState.NOT_READY, message="Secret vendor is missing"),
        palm=entry(state=EntryState.NOT_SUPPORTED, message="Google has retired the PaLM API"),
        none=entry(),
        dead=entry(1),
    )
    answer = await call(front.port, path, {"messages": []}, headers)
    assert (answer.status, answer.json["error_code"]) == (status, code)
    assert "error" not in answer.json
    if status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    if "down" in path:
        assert "Secret vendor is missing" in answer.json["message"]
    if "palm" in path:
        assert "retired the PaLM API" in answer.json["message"]
        assert "retry-after" not in answer.headers and answer.headers["x-should-retry"] == "false"


async def test_the_wrong_method_is_405_with_allow(front: Running) -> None:
    answer = await call(front.port, "/serving-endpoints/ep/invocations", headers=AUTH)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_an_address_that_refuses_is_passed_over(front: Running, running: Running) -> None:
    set_table(front, ep=entry(1, running.port, 2))
    for _ in range(6):
        assert (await ask(front)).status == 200


async def test_a_call_that_was_sent_is_never_sent_again(front: Running) -> None:
    async with FakeUpstream(scripts=[raw(close=True)]) as first, FakeUpstream(scripts=[raw(close=True)]) as second:
        set_table(front, ep=entry(first.port, second.port))
        answer = await ask(front)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert len(first.requests) + len(second.requests) == 1


async def test_calls_go_to_the_address_with_the_fewest_under_way(front: Running) -> None:
    async with FakeUpstream(scripts=[silence()]) as busy, FakeUpstream() as free:
        set_table(front, ep=entry(busy.port))
        hanging = asyncio.create_task(ask(front))
        await until(lambda: busy.requests)
        set_table(front, ep=entry(busy.port, free.port))
        for _ in range(4):
            assert (await ask(front)).status == 200
        assert (len(busy.requests), len(free.requests)) == (1, 4)
        hanging.cancel()


async def test_a_first_start_holds_the_call_until_the_table_says_ready(front: Running, running: Running) -> None:
    set_table(front, ep=entry(state=EntryState.STARTING))
    held = asyncio.create_task(ask(front))
    await asyncio.sleep(0.2)
    assert not held.done()
    set_table(front, ep=entry(running.port))
    assert (await held).status == 200


async def test_a_start_that_fails_answers_the_held_calls(front: Running) -> None:
    set_table(front, ep=entry(state=EntryState.STARTING))
    held = asyncio.create_task(ask(front))
    await asyncio.sleep(0.2)
    set_table(front, ep=entry(state=EntryState.NOT_READY, message="bad key"))
    answer = await held
    assert answer.status == 503
    assert "bad key" in answer.json["message"]


async def test_a_call_is_not_held_for_ever() -> None:
    async with router(hold_seconds=0.2) as front:
        set_table(front, ep=entry(state=EntryState.STARTING))
        answer = await ask(front)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert "starting" in answer.json["message"]


async def test_a_held_call_whose_client_leaves_is_forgotten(front: Running, upstream: FakeUpstream) -> None:
    set_table(front, ep=entry(state=EntryState.STARTING))
    _, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(request_bytes("POST", "/serving-endpoints/ep/invocations", b"{}", AUTH))
    await asyncio.sleep(0.1)
    writer.close()
    await asyncio.sleep(0.1)
    set_table(front, ep=entry(upstream.port))
    assert (await ask(front)).status == 200
    assert len(upstream.requests) == 1


async def test_a_proxy_that_dies_in_mid_stream_ends_the_stream_with_an_error(front: Running) -> None:
    async def dying(request, writer):  # type: ignore[no-untyped-def]
        await stream([b'data: {"a":1}\n\n', b'data: {"half'], end=False)(request, writer)

    async with FakeUpstream(scripts=[dying]) as proxy:
        set_table(front, ep=entry(proxy.port))
        answer = await ask(front, stream=True)
        assert answer.status == 200
        assert answer.body.startswith(b'data: {"a":1}\n\ndata: {"error":')
        assert b"half" not in answer.body


async def test_a_truncated_answer_becomes_503(front: Running) -> None:
    cut = raw(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"a"', close=True)
    async with FakeUpstream(scripts=[cut]) as proxy:
        set_table(front, ep=entry(proxy.port))
        assert (await ask(front)).status == 503


async def test_errors_of_the_proxy_pass_unchanged(front: Running) -> None:
    refusal = {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "x"}
    async with FakeUpstream(scripts=[whole(429, refusal, retry_after="7", connection="close")]) as proxy:
        set_table(front, ep=entry(proxy.port))
        answer = await ask(front)
        assert (answer.status, answer.json, answer.headers["retry-after"]) == (429, refusal, "7")
        assert "connection" not in answer.headers


async def test_models_lists_what_the_caller_may_query(front: Running) -> None:
    set_table(front, b=entry(1), a=entry(1), hidden=entry(1, grants=[Grant("user", "eve", "CAN_QUERY")]))
    answer = await call(front.port, "/serving-endpoints/models", headers=AUTH)
    assert [model["id"] for model in answer.json["data"]] == ["a", "b"]


async def test_discovery_needs_no_token(front: Running) -> None:
    answer = await call(
        front.port, "/.well-known/databricks-config", headers={"authorization": "", "host": "my.host:80"}
    )
    assert answer.json == {"oidc_endpoint": "http://my.host:80/oidc", "workspace_id": "4711"}
    assert (await call(front.port, "/healthz", headers={"authorization": ""})).status == 200


async def test_a_router_without_its_table_is_not_ready() -> None:
    async with Running(RouterService(RouterSettings())) as bare:
        page = await call(bare.admin_port, "/readyz")
        assert page.status == 503
        assert b"the table of endpoints" in page.body
        bare.service.message(Message(router_key="k", users={}, table={}))
        assert (await call(bare.admin_port, "/readyz")).status == 200


async def test_a_client_that_leaves_ends_the_call_at_the_proxy(front: Running) -> None:
    async with FakeUpstream(scripts=[silence()]) as proxy:
        set_table(front, ep=entry(proxy.port))
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(request_bytes("POST", "/serving-endpoints/ep/invocations", b"{}", AUTH))
        await until(lambda: proxy.requests)
        writer.close()
        await until(lambda: not len(front.service.pipeline.in_flight))


async def test_a_swapped_table_moves_new_calls_while_old_ones_finish(front: Running) -> None:
    release = asyncio.Event()

    async def late(request, writer):  # type: ignore[no-untyped-def]
        await release.wait()
        await whole(200, {"from": "old"})(request, writer)

    async with FakeUpstream(scripts=[late]) as old, FakeUpstream(scripts=[whole(200, {"from": "new"})]) as new:
        set_table(front, ep=entry(old.port))
        first = asyncio.create_task(ask(front))
        await until(lambda: old.requests)
        set_table(front, ep=entry(new.port))
        assert (await ask(front)).json == {"from": "new"}
        release.set()
        assert (await first).json == {"from": "old"}


async def test_the_official_path_of_a_direct_call_stays_closed_without_the_router(running: Running) -> None:
    forged = {"authorization": "", "x-model-serving-principal": "ada", "x-model-serving-router-key": "guess"}
    assert (await chat(running.port, forged)).status == 401


async def test_one_connection_serves_many_calls(front: Running, running: Running, upstream: FakeUpstream) -> None:
    set_table(front, ep=entry(running.port))
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    for _ in range(5):
        writer.write(request_bytes("POST", "/serving-endpoints/ep/invocations", b'{"messages":[]}', AUTH))
        assert (await read_answer(reader)).status == 200
    writer.close()
    assert upstream.connections == 1


# What is seen of calls


async def test_calls_are_counted_by_endpoint_and_callers_cannot_make_up_labels(
    front: Running, running: Running
) -> None:
    set_table(front, ep=entry(running.port))
    assert (await ask(front)).status == 200
    assert (await ask(front, "/serving-endpoints/made-up/invocations")).status == 404
    page = (await call(front.admin_port, "/metrics")).body.decode()
    assert 'model_serving_routed_calls_total{endpoint="ep",status="200"} 1\n' in page
    assert 'model_serving_routed_calls_total{endpoint="",status="404"} 1\n' in page
    assert "made-up" not in page
    assert "model_serving_ready 1\n" in page and 'model_serving_connections{port="data"}' in page


async def test_a_call_is_logged_by_the_router_only_when_no_proxy_does(running: Running) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as log:
        async with router(process=ProcessSettings(access_log_fd=writing)) as front:
            set_table(front, ep=entry(running.port), gone=entry(9))
            headers = {"x-request-id": "mine", "user-agent": "curl"}
            assert (await ask(front)).status == 200
            assert (await ask(front, messages="no list")).status == 400  # the proxy's answer, so the proxy's line
            for name in ("unknown", "gone"):
                path = f"/serving-endpoints/{name}/invocations"
                await call(front.port, path, {"messages": MESSAGES}, AUTH | headers)
            await call(front.port, "/serving-endpoints/ep/invocations", {}, {"authorization": "Bearer canary"})
        os.close(writing)
        text = log.read()
    records = [json.loads(line) for line in text.splitlines()]
    told = [(r.get("endpoint"), r.get("principal"), r["status"], r["error_code"]) for r in records]
    assert told == [
        ("unknown", "ada", 404, "ENDPOINT_NOT_FOUND"),
        ("gone", "ada", 503, "TEMPORARILY_UNAVAILABLE"),
        (None, None, 401, "UNAUTHENTICATED"),
    ]
    assert {r["process"] for r in records} == {"router"}
    assert records[0]["id"] == "mine" and records[0]["user_agent"] == "curl"
    assert b"canary" not in text and USER.encode() not in text


async def test_the_clients_trace_context_reaches_the_proxy(front: Running, upstream: FakeUpstream) -> None:
    set_table(front, ep=entry(upstream.port))
    context = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "v=1"}
    await call(front.port, "/serving-endpoints/ep/invocations", {"messages": MESSAGES}, AUTH | context)
    assert upstream.requests[0].header("traceparent") == context["traceparent"]
    assert upstream.requests[0].header("tracestate") == "v=1"


@pytest.mark.parametrize("path", ["/healthz", "/.well-known/databricks-config", "/serving-endpoints/models", "/x"])
async def test_every_answer_has_a_request_id(front: Running, path: str) -> None:
    assert (await call(front.port, path, headers=AUTH | {"x-request-id": "mine"})).headers["x-request-id"] == "mine"
    assert (await call(front.port, path, headers=AUTH)).headers["x-request-id"]
