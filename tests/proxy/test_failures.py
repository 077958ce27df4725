"""Every error of a call: status, code, body and headers in both formats, and what is never done."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from model_serving.proxy_config import Grant, Limit
from tests.fakes.upstream import FakeUpstream, Script, raw, silence, whole
from tests.proxy.harness import MESSAGES, SECRET, Files, Running, call, chat, policy, proxy, target, until

EP = "/serving-endpoints/ep/invocations"
OPENAI = "/serving-endpoints/chat/completions"
OK = {"messages": MESSAGES}


NOT_FOUND = "ENDPOINT_NOT_FOUND"
BAD = "INVALID_PARAMETER_VALUE"
MODEL = {"model": "ep"}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        pytest.param(EP, b"", (400, "BAD_REQUEST", "no body"), id="no body"),
        pytest.param(EP, b"{nope", (400, "BAD_REQUEST", "not valid JSON"), id="not JSON"),
        pytest.param(EP, b"[1]", (400, "BAD_REQUEST", "not an object"), id="not an object"),
        pytest.param(EP, b'{"a": ' + b"[" * 99999 + b"]" * 99999 + b"}", (400, "BAD_REQUEST", "deep"), id="too deep"),
        pytest.param(EP, b'{"\xff": 1}', (400, "BAD_REQUEST", "not valid JSON"), id="not UTF-8"),
        pytest.param(EP, {}, (400, BAD, "messages is missing"), id="no input"),
        pytest.param(EP, {"messages": "x"}, (400, BAD, "messages must be"), id="messages a string"),
        pytest.param(EP, {"input": "x"}, (400, BAD, "llm/v1/embeddings"), id="another task's field"),
        pytest.param(EP, {"prompt": "x"}, (400, BAD, "llm/v1/chat"), id="a prompt to a chat"),
        pytest.param(EP, {"dataframe_split": {}}, (400, BAD, "messages"), id="classic model's body"),
        pytest.param(EP, OK | {"stream": "yes"}, (400, BAD, "stream"), id="stream not a boolean"),
        pytest.param(EP, OK | {"extra_params": []}, (400, BAD, "extra_params"), id="extra_params a list"),
        pytest.param(
            EP, OK | {"stream": True, "stream_options": 1}, (400, BAD, "stream_options"), id="stream_options a number"
        ),
        pytest.param(OPENAI, OK, (400, BAD, "model is missing"), id="no model"),
        pytest.param(OPENAI, OK | {"model": 7}, (400, BAD, "model is missing"), id="model a number"),
        pytest.param(OPENAI, OK | {"model": "no"}, (404, NOT_FOUND, "no does not exist"), id="unknown model"),
        pytest.param(
            "/serving-endpoints/embeddings", MODEL | {"input": "x"}, (400, BAD, "llm/v1/embeddings"), id="another route"
        ),
        pytest.param("/serving-endpoints/no/invocations", OK, (404, NOT_FOUND, "no"), id="unknown endpoint"),
        pytest.param(
            "/serving-endpoints/ep/served-models/no/invocations", OK, (404, NOT_FOUND, "has gpt"), id="unknown entity"
        ),
        pytest.param("/serving-endpoints/ep", OK, (404, NOT_FOUND, "no API found"), id="unknown path"),
        pytest.param("/serving-endpoints/ep/invocations/", OK, (404, NOT_FOUND, "no API"), id="trailing slash"),
        pytest.param("/", OK, (404, NOT_FOUND, "no API"), id="root"),
    ],
)
async def test_a_bad_call_is_refused_before_any_upstream(
    running: Running, upstream: FakeUpstream, path: str, body: Any, expected: tuple[int, str, str]
) -> None:
    answer = await call(running.port, path, body)
    assert (answer.status, answer.json["error_code"]) == expected[:2], answer
    assert expected[2] in answer.json["message"]
    openai = path.startswith(("/serving-endpoints/chat", "/serving-endpoints/embeddings"))
    assert ("error" in answer.json) == openai
    if openai:
        assert set(answer.json["error"]) == {"message", "type", "code", "param"}
    assert answer.headers["x-request-id"]
    assert upstream.requests == []


@pytest.mark.parametrize(("method", "path", "allow"), [("GET", EP, "POST"), ("PUT", EP, "POST"), ("DELETE", OPENAI, "POST"), ("POST", "/serving-endpoints/models", "GET")])  # fmt: skip # noqa: E501
async def test_the_wrong_method_is_405_and_says_which_is_right(
    running: Running, method: str, path: str, allow: str
) -> None:
    answer = await call(running.port, path, b"{}", method=method)
    assert (answer.status, answer.headers["allow"], answer.json["error_code"]) == (
        405,
        allow,
        "INVALID_PARAMETER_VALUE",
    )


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param("", 401, id="no token"),
        pytest.param("Bearer wrong", 401, id="a wrong token"),
        pytest.param("Bearer ", 401, id="an empty token"),
        pytest.param("Basic a2V5LW9mLWFkYQ==", 401, id="another scheme"),
        pytest.param("bearer key-of-ada", 200, id="the scheme in another case"),
        pytest.param("Bearer key-of-eve", 403, id="a caller without CAN_QUERY"),
        pytest.param("Bearer key-of-vic", 403, id="a caller with CAN_VIEW"),
        pytest.param("Bearer key-of-bob", 200, id="a member of a group with CAN_MANAGE"),
    ],
)
async def test_only_known_callers_with_can_query_are_served(
    files: Files, upstream: FakeUpstream, header: str, status: int
) -> None:
    files.usual(upstream.base)
    files.key("key-of-eve", "eve", ["others"])
    files.key("key-of-vic", "vic")
    files.key("key-of-bob", "bob", ["others", "team"])
    viewer = Grant("user", "vic", "CAN_VIEW")
    files.policy(grants=[*policy().grants, Grant("group", "team", "CAN_MANAGE"), viewer])
    async with proxy(files) as running:
        answer = await chat(running.port, {"authorization": header})
    assert answer.status == status
    if status == 401:
        assert answer.json["error_code"] == "UNAUTHENTICATED"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "served-model-name" not in answer.headers
    if status == 403:
        assert answer.json["error_code"] == "PERMISSION_DENIED"
        assert "ep" in answer.json["message"]
        assert "CAN_QUERY" in answer.json["message"]
    assert bool(upstream.requests) == (status == 200)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        (400, 400, "BAD_REQUEST"), (401, 401, "UNAUTHENTICATED"), (403, 403, "PERMISSION_DENIED"),
        (404, 404, "RESOURCE_DOES_NOT_EXIST"), (409, 409, "RESOURCE_CONFLICT"), (429, 429, "REQUEST_LIMIT_EXCEEDED"),
        (500, 500, "INTERNAL_ERROR"), (501, 501, "NOT_IMPLEMENTED"), (503, 503, "TEMPORARILY_UNAVAILABLE"),
        (504, 504, "DEADLINE_EXCEEDED"), (422, 400, "INVALID_PARAMETER_VALUE"), (413, 400, "INVALID_PARAMETER_VALUE"),
        (502, 503, "TEMPORARILY_UNAVAILABLE"), (529, 503, "TEMPORARILY_UNAVAILABLE"),
        (302, 503, "TEMPORARILY_UNAVAILABLE"),
    ],
)  # fmt: skip
async def test_a_providers_error_keeps_its_status_where_clients_know_it(
    running: Running, upstream: FakeUpstream, given: int, status: int, code: str
) -> None:
    error = {"error": {"message": f"no: {SECRET}", "type": "t", "code": "c", "param": None}}
    upstream.scripts += [whole(given, error), whole(given, error)]
    answer = await call(running.port, EP, OK)
    assert (answer.status, answer.json["error_code"]) == (status, code)
    assert "error" not in answer.json
    message = json.loads(answer.json["message"])
    assert message["external_model_provider"] == "openai"
    assert message["external_model_error"]["error"]["message"] == "no: [redacted]"
    assert message.get("external_model_status", given) == given
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    openai = await call(running.port, OPENAI, OK | {"model": "ep"})
    assert openai.json["error"] == {"message": "no: [redacted]", "type": "t", "code": "c", "param": None}
    assert openai.json["error_code"] == code


@pytest.mark.parametrize(
    ("given", "passed"),
    [("7", "7"), ("0.2", "1"), ("Wed, 21 Oct 2026 07:28:00 GMT", "1"), ("Fri, 21 Oct 2095 07:28:00 GMT", "86400")],
)
async def test_retry_after_is_passed_on_as_whole_seconds(
    running: Running, upstream: FakeUpstream, given: str, passed: str
) -> None:
    upstream.scripts.append(whole(429, {}, retry_after=given))
    assert (await chat(running.port)).headers["retry-after"] == passed


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(raw(close=True), id="closes without an answer"),
        pytest.param(raw(abort=True), id="resets"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\ncontent-le", close=True), id="half a head"),
        pytest.param(raw(b'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"a"', close=True), id="half a body"),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nab", close=True), id="half a chunk"
        ),
        pytest.param(raw(b'HTTP/1.1 200 OK\r\n\r\n{"id": ', close=True), id="until close, but not whole"),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>"),
            id="a web page",
        ),
        pytest.param(raw(b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"id": '), id="half of it, its length right"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), id="nothing"),
        pytest.param(raw(b"HTTP/1.1 204 No Content\r\n\r\n"), id="no content"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe"), id="neither JSON nor UTF-8"),
        pytest.param(whole(200, b'{"id": "\xff", "choices": []}'), id="not UTF-8 within a string"),
        pytest.param(whole(200, b'{"usage": {"prompt_tokens": 1}, "id": "\xc3"}'), id="usage, but not UTF-8"),
        pytest.param(
            raw(b"HTTP/1.1 140 X\r\ncontent-length: 1\r\n\r\n{HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n}"),
            id="an interim answer with a body",
        ),
        pytest.param(raw(b"HTTP/1.1 099 X\r\ncontent-length: 2\r\n\r\n{}"), id="a status that is none"),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
            id="two codings",
        ),
        pytest.param(
            raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
            id="a length beside a coding",
        ),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{}"), id="shorter than it is"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.2\r\n"), id="not HTTP"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"), id="two lengths"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70000 + b"\r\n\r\n"), id="an endless head"),
        pytest.param(
            raw(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), id="switches protocols"
        ),
        pytest.param(whole(200, b"\x1f\x8b", content_encoding="gzip"), id="compressed without being asked"),
    ],
)
async def test_an_answer_that_is_not_whole_or_not_http_is_503_and_not_asked_again(
    running: Running, upstream: FakeUpstream, script: Script
) -> None:
    upstream.scripts.append(script)
    answer = await chat(running.port)
    assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE"), answer
    assert int(answer.headers["retry-after"]) >= 1
    assert len(upstream.requests) == 1
    assert (await chat(running.port)).status == 200


async def test_a_whole_answer_that_ends_with_the_connection_is_passed_on(
    running: Running, upstream: FakeUpstream
) -> None:
    upstream.scripts.append(raw(b'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{"a": 1}', close=True))
    assert (await chat(running.port)).json == {"a": 1}


async def test_an_answer_is_called_json_whatever_the_provider_calls_it(
    running: Running, upstream: FakeUpstream
) -> None:
    upstream.scripts.append(raw(b'HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 7\r\n\r\n{"a":1}'))
    answer = await chat(running.port)
    assert (answer.json, answer.headers["content-type"]) == ({"a": 1}, "application/json")


async def test_more_than_one_answer_never_reaches_the_next_caller(running: Running, upstream: FakeUpstream) -> None:
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"
    upstream.scripts.append(raw(one + b'{"a":1}' + one + b'{"b":2}'))
    assert (await chat(running.port)).json == {"a": 1}
    assert (await chat(running.port)).json["object"] == "chat.completion"


async def test_a_body_where_there_may_be_none_never_reaches_the_next_caller(
    running: Running, upstream: FakeUpstream
) -> None:
    late = b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"b":2}'
    upstream.scripts.append(raw(b"HTTP/1.1 204 No Content\r\n\r\n", late))
    assert (await chat(running.port)).status == 503
    assert (await chat(running.port)).json["object"] == "chat.completion"
    assert upstream.connections == 2


async def test_an_early_hint_before_the_answer_is_skipped(running: Running, upstream: FakeUpstream) -> None:
    upstream.scripts.append(
        raw(b'HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}')
    )
    assert (await chat(running.port)).json == {"a": 1}


async def test_an_upstream_that_does_not_answer_is_504(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, request_timeout_seconds=0.3)
    upstream.scripts.append(silence())
    async with proxy(files) as running:
        answer = await chat(running.port)
    assert (answer.status, answer.json["error_code"]) == (504, "DEADLINE_EXCEEDED")
    await until(lambda: upstream.connections)


@pytest.mark.parametrize(
    ("base", "leave", "words"),
    [
        pytest.param("http://127.0.0.1:1/v1", "local", "refused", id="nobody listens"),
        pytest.param("https://no-such-host.invalid/v1", "local", "not found", id="unknown name"),
        pytest.param("http://127.0.0.1:1/v1", "private", "loopback", id="loopback without leave"),
        pytest.param("https://localhost:1/v1", "public", "loopback", id="a name that leads to loopback"),
        pytest.param("https://10.0.0.1/v1", "public", "admin's leave", id="private without leave"),
        pytest.param("http://example.com/v1", "public", "https", id="http without leave"),
        pytest.param("http://169.254.169.254/v1", "local", "never", id="metadata"),
        pytest.param("https://[::ffff:169.254.169.254]/v1", "local", "never", id="metadata in disguise"),
        pytest.param("https://0.0.0.0/v1", "local", "never", id="unspecified"),
    ],
)
async def test_an_upstream_that_cannot_or_may_not_be_reached_is_503(
    files: Files, upstream: FakeUpstream, base: str, leave: str, words: str
) -> None:
    files.usual(upstream.base)
    files.config([target(base)])
    files.policy(upstream_leave=leave)
    async with proxy(files) as running:
        answer = await chat(running.port)
    assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert words in answer.json["message"]
    assert int(answer.headers["retry-after"]) >= 1


async def test_an_address_that_the_settings_deny_is_never_called(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    async with proxy(files, denied_addresses=frozenset({"127.0.0.1"})) as running:
        assert (await chat(running.port)).status == 503
    assert upstream.connections == 0


@pytest.mark.parametrize(("limits", "served"), [([Limit("user", 2)], 2), ([Limit("endpoint", 3)], 3), ([Limit("user", 5), Limit("endpoint", 1)], 1), ([Limit("user", 0)], 0)])  # fmt: skip # noqa: E501
async def test_no_more_calls_than_the_limit_are_admitted(
    files: Files, upstream: FakeUpstream, limits: list[Limit], served: int
) -> None:
    files.usual(upstream.base, limits=limits)
    async with proxy(files) as running:
        answers = await asyncio.gather(*(chat(running.port) for _ in range(6)))
        assert sorted(answer.status for answer in answers) == [200] * served + [429] * (6 - served)
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.json["error_code"] == "REQUEST_LIMIT_EXCEEDED"
        assert refused.json["message"].startswith("REQUEST_LIMIT_EXCEEDED: ")
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert b"model_serving_limited_total" in (await call(running.admin_port, "/metrics")).body
    assert len(upstream.requests) == served


async def test_calls_that_are_refused_before_anything_is_sent_do_not_count(
    files: Files, upstream: FakeUpstream
) -> None:
    files.usual(upstream.base, limits=[Limit("user", 1)])
    (files.root / "secrets/vendor/token").unlink()
    async with proxy(files) as running:
        for _ in range(3):
            assert (await chat(running.port)).status == 503
            assert (await chat(running.port, stream=True, stream_options=1)).status == 400
        assert upstream.requests == []
        files.secret(SECRET)
        deadline = asyncio.get_running_loop().time() + 20
        while (answer := await chat(running.port)).status == 503:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert answer.status == 200
        assert (await chat(running.port)).status == 429
    assert len(upstream.requests) == 1


async def test_users_do_not_use_up_each_others_limit(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, limits=[Limit("user", 1)])
    files.key("key-of-bob", "bob")
    files.policy(limits=[Limit("user", 1)], grants=[Grant("user", name, "CAN_QUERY") for name in ("ada", "bob")])
    async with proxy(files) as running:
        assert (await chat(running.port)).status == 200
        assert (await chat(running.port)).status == 429
        assert (await chat(running.port, {"authorization": "Bearer key-of-bob"})).status == 200
