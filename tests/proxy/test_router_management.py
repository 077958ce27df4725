"""What is no call: the router passes it to management as it is, and answers discovery by itself."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from model_serving.proxy.control import Message
from model_serving.proxy.settings import ProcessSettings
from tests.fakes.upstream import FakeUpstream, silence
from tests.proxy.fronts import AUTH, INVOCATIONS, ask, entry, management, set_table, told
from tests.proxy.harness import call, request_bytes, until

LIST = "/api/2.0/serving-endpoints"
FORGED = {
    "x-model-serving-principal": "root",
    "x-model-serving-groups": "admins",
    "x-model-serving-router-key": "shared",
    "x_model_serving_principal": "root",
}


def at(fake: FakeUpstream) -> dict[str, Any]:
    return {"management": f"127.0.0.1:{fake.port}"}


@pytest.mark.parametrize(
    ("method", "path", "managed"),
    [
        pytest.param("GET", LIST, True, id="the REST API"),
        pytest.param("GET", f"{LIST}/chat/invocations", True, id="the REST API, whatever follows"),
        pytest.param("PUT", f"{LIST}/ep/config", True, id="a change"),
        pytest.param("POST", "/api/2.0/secrets/put", True, id="secrets"),
        pytest.param("GET", "/", True, id="the start page"),
        pytest.param("GET", "/ui/endpoints/chat", True, id="a page"),
        pytest.param("GET", "/oidc/v1/token", True, id="tokens"),
        pytest.param("POST", "/telemetry-ext", True, id="telemetry"),
        pytest.param("GET", "/serving-endpoints", True, id="no serving path"),
        pytest.param("POST", "/serving-endpoints/chat/config", True, id="no serving path of an endpoint"),
        pytest.param("POST", "/healthz", True, id="a way to ask for health that there is not"),
        pytest.param("POST", "/serving-endpoints/chat/invocations", False, id="an endpoint that is called chat"),
        pytest.param("POST", "/serving-endpoints/models/invocations", False, id="an endpoint that is called models"),
        pytest.param("POST", "/serving-endpoints/chat/completions", False, id="OpenAI's path"),
        pytest.param("GET", "/serving-endpoints/chat/invocations", False, id="the wrong method of a serving path"),
        pytest.param("GET", "/healthz", False, id="health"),
        pytest.param("GET", "/.well-known/databricks-config", False, id="discovery"),
    ],
)
async def test_the_whole_path_decides_what_goes_to_management(method: str, path: str, managed: bool) -> None:
    async with management() as fake, told(**at(fake)) as front:
        answer = await call(front.port, path, b"{}" if method != "GET" else None, AUTH, method)
        assert [request.path for request in fake.requests] == ([path] if managed else [])
        if managed:
            assert answer.status == 200 and answer.json["method"] == method


async def test_a_request_arrives_as_it_was_sent_with_the_callers_token() -> None:
    async with management() as fake, told(**at(fake)) as front:
        sent = {"host": "my.host", "cookie": "a=b", "accept": "*/*", "content-type": "application/json", "te": "gzip",
                "connection": "x-own, close", "x-own": "1", "keep-alive": "5", "x-request-id": "mine"}  # fmt: skip
        answer = await call(front.port, f"{LIST}?name=&a=%20b", b'{"a": 1}', AUTH | sent | FORGED, "PATCH")
        assert answer.json == {"method": "PATCH", "path": f"{LIST}?name=&a=%20b", "body": '{"a": 1}'}
        assert answer.headers["x-request-id"] == "mine"
    seen = {name.lower(): value for name, value in fake.requests[0].headers}
    assert seen.pop("content-length") == "8"
    assert seen == AUTH | {
        "host": "my.host", "x-forwarded-proto": "http", "cookie": "a=b", "accept": "*/*",
        "content-type": "application/json", "x-request-id": "mine",
    }  # fmt: skip


@pytest.mark.parametrize("query", ["?", "?a", "?a=b&a=c", "?next=/x?y"])
async def test_a_query_stays_as_it_is(query: str) -> None:
    async with management() as fake, told(**at(fake)) as front:
        await call(front.port, LIST + query, headers=AUTH)
        assert fake.requests[0].path == LIST + query


@pytest.mark.parametrize(
    ("told_by_client", "seen"),
    [({}, "http"), ({"x-forwarded-proto": "https"}, "https"), ({"x-forwarded-proto": "gopher"}, "http")],
)
async def test_management_learns_how_the_client_speaks(told_by_client: dict[str, str], seen: str) -> None:
    async with management() as fake, told(**at(fake)) as front:
        await call(front.port, LIST, headers=AUTH | told_by_client)
        assert fake.requests[0].header("x-forwarded-proto") == seen


async def test_its_answer_comes_back_as_it_is() -> None:
    refusal = b'{"error_code": "RESOURCE_CONFLICT", "message": "x"}'
    head = b"HTTP/1.1 409 Conflict\r\nx-databricks-org-id: 7\r\nx-request-id: theirs\r\ncontent-length: %d\r\n\r\n"
    async with management(head % len(refusal) + refusal) as fake, told(**at(fake)) as front:
        answer = await call(front.port, LIST, headers=AUTH)
        assert (answer.status, answer.body) == (409, refusal)
        assert (answer.headers["x-databricks-org-id"], answer.headers["x-request-id"]) == ("7", "theirs")


async def test_a_head_request_gets_a_head_alone() -> None:
    async with management() as fake, told(**at(fake)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(request_bytes("HEAD", LIST, None, AUTH) + request_bytes("GET", "/healthz", None, AUTH))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert b"content-length: 0" not in head
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_body_for_management_is_bounded() -> None:
    async with management() as fake, told(**at(fake)) as front:
        assert (await call(front.port, LIST, b" " * (1 << 20), AUTH)).status == 200
        answer = await call(front.port, LIST, b" " * ((1 << 20) + 1), AUTH)
        assert (answer.status, answer.json["error_code"]) == (413, "INVALID_PARAMETER_VALUE")
        assert len(fake.requests) == 1


async def test_management_that_is_away_is_503_and_calls_are_served() -> None:
    async with FakeUpstream() as proxy, told(management="127.0.0.1:1") as front:
        set_table(front, ep=entry(proxy.port))
        answer = await call(front.port, LIST, headers=AUTH)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await ask(front)).status == 200


async def test_an_answer_that_breaks_off_is_503() -> None:
    async with FakeUpstream() as fake:

        async def cut(request: Any, writer: Any) -> None:
            writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"a"')
            writer.close()

        fake.scripts.append(cut)
        async with told(**at(fake)) as front:
            assert (await call(front.port, LIST, headers=AUTH)).status == 503


async def test_a_message_tells_where_management_is() -> None:
    async with management() as fake, told() as front:
        answer = await call(front.port, LIST, headers=AUTH)
        assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        service: Any = front.service
        service.message(Message(management=f"127.0.0.1:{fake.port}"))
        assert (await call(front.port, LIST, headers=AUTH)).status == 200


async def test_a_client_that_leaves_ends_its_request() -> None:
    async with FakeUpstream(scripts=[silence()]) as fake, told(**at(fake)) as front:
        service: Any = front.service
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(request_bytes("GET", LIST, None, AUTH))
        await until(lambda: fake.requests)
        assert len(service.pipeline.in_flight) == 1, "a drain waits for it"
        writer.close()
        await until(lambda: not len(service.pipeline.in_flight))


async def test_a_request_that_takes_too_long_is_504() -> None:
    process = ProcessSettings(max_request_seconds=0.3)
    async with FakeUpstream(scripts=[silence()]) as fake, told(process=process, **at(fake)) as front:
        answer = await call(front.port, LIST, headers=AUTH)
        assert (answer.status, answer.json["error_code"]) == (504, "DEADLINE_EXCEEDED")


async def test_management_that_hangs_leaves_room_for_calls(upstream: FakeUpstream) -> None:
    process = ProcessSettings(max_in_flight=4)
    async with FakeUpstream(scripts=[silence()] * 4) as fake, told(process=process, **at(fake)) as front:
        set_table(front, ep=entry(upstream.port))
        service: Any = front.service
        hanging = [asyncio.create_task(call(front.port, LIST, headers=AUTH)) for _ in range(2)]
        await until(lambda: len(service.pipeline.in_flight) == 2)
        answer = await call(front.port, LIST, headers=AUTH)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert (await ask(front)).status == 200
        for each in hanging:
            each.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def test_requests_are_counted_and_logged_apart_from_calls() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as log:
        async with management() as fake, told(process=ProcessSettings(access_log_fd=writing), **at(fake)) as front:
            await call(front.port, f"{LIST}/ep?token=canary", headers=AUTH | {"x-request-id": "mine"})
            page = (await call(front.admin_port, "/metrics")).body.decode()
        os.close(writing)
        lines = log.read()
    assert 'model_serving_management_requests_total{status="200"} 1\n' in page
    assert "model_serving_routed_calls_total{" not in page
    record = json.loads(lines)
    assert (record["type"], record["method"], record["path"]) == ("management", "GET", f"{LIST}/ep")
    assert (record["status"], record["id"]) == (200, "mine")
    assert b"canary" not in lines and b"dapi" not in lines


# Discovery


@pytest.mark.parametrize(
    ("settings", "headers", "endpoint"),
    [
        pytest.param({}, {}, "http://my.host:80/oidc", id="no issuer"),
        pytest.param({}, {"x-forwarded-proto": "https"}, "https://my.host:80/oidc", id="behind TLS"),
        pytest.param({}, {"host": 'a"b'}, "http://localhost/oidc", id="a host that is none"),
        pytest.param({"oidc_issuer": "https://login.example"}, {}, "https://login.example", id="the cluster's issuer"),
    ],
)
async def test_discovery_says_where_tokens_come_from(
    settings: dict[str, Any], headers: dict[str, str], endpoint: str
) -> None:
    async with told(workspace_id="4711", **settings) as front:
        sent = {"authorization": "", "host": "my.host:80"} | headers
        answer = await call(front.port, "/.well-known/databricks-config?a=b", headers=sent)
        assert (answer.status, answer.json) == (200, {"oidc_endpoint": endpoint, "workspace_id": "4711"})


async def test_the_workspace_id_may_come_later() -> None:
    async with told() as front:
        service: Any = front.service
        service.message(Message(workspace_id="77"))
        assert (await call(front.port, "/.well-known/databricks-config")).json["workspace_id"] == "77"


async def test_a_path_of_ours_says_that_there_are_no_tokens() -> None:
    async with management() as fake, told(**at(fake)) as front:
        answer = await call(front.port, "/oidc/.well-known/oauth-authorization-server", headers={"authorization": ""})
        assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert "issues no tokens" in answer.json["message"]
        assert not fake.requests


async def test_discovery_is_answered_however_busy_the_router_is() -> None:
    process = ProcessSettings(max_in_flight=1)
    async with FakeUpstream(scripts=[silence()]) as fake, told(process=process, **at(fake)) as front:
        set_table(front, ep=entry(fake.port))
        hanging = asyncio.create_task(ask(front))
        await until(lambda: fake.requests)
        assert (await call(front.port, LIST, headers=AUTH)).status == 429
        assert (await call(front.port, INVOCATIONS, {}, AUTH)).status == 429
        assert (await call(front.port, "/.well-known/databricks-config")).status == 200
        hanging.cancel()
