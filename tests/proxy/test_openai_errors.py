"""Each kind of error as the official openai package shows it: the exception's class, code and message, and retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from model_serving.proxy.settings import ProcessSettings
from model_serving.proxy_config import Limit
from tests.fakes.upstream import FakeUpstream, Script, event, raw, silence, stream, whole
from tests.proxy.harness import MESSAGES, TOKEN, Files, Running, proxy, until

CHUNK = event(
    {
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "begun"}, "finish_reason": None}],
    }
)  # fmt: skip
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def client_of(running: Running, token: str = TOKEN, retries: int = 0) -> openai.AsyncOpenAI:
    base = f"http://127.0.0.1:{running.port}/serving-endpoints"
    return openai.AsyncOpenAI(base_url=base, api_key=token, max_retries=retries, timeout=20)


async def ask(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    values: dict[str, Any] = {"model": "ep", "messages": MESSAGES} | fields
    return await client.chat.completions.create(**values)


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(running) as client:
        yield client


async def test_401(running: Running) -> None:
    async with client_of(running, "wrong") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await ask(client)
    assert (caught.value.status_code, caught.value.code) == (401, "UNAUTHENTICATED")
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id


async def test_403(running: Running, files: Files) -> None:
    files.key("key-of-eve", "eve")
    await asyncio.sleep(1.3)
    async with client_of(running, "key-of-eve") as client:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await ask(client)
    assert (caught.value.code, caught.value.type) == ("PERMISSION_DENIED", "permission_error")
    assert "CAN_QUERY" in caught.value.message


async def test_404(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await ask(client, model="no")
    assert (caught.value.code, caught.value.type) == ("ENDPOINT_NOT_FOUND", "not_found_error")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        pytest.param({"messages": "x"}, "INVALID_PARAMETER_VALUE", "messages", id="a field of the wrong type"),
        pytest.param({"stream": "yes"}, "INVALID_PARAMETER_VALUE", "stream", id="stream not a boolean"),
        pytest.param({"extra_body": {"extra_params": 1}}, "INVALID_PARAMETER_VALUE", "extra_params", id="extra_params"),
    ],
)
async def test_400(client: openai.AsyncOpenAI, fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(client, **fields)
    assert (caught.value.code, caught.value.param, caught.value.type) == (code, param, "invalid_request_error")


async def test_413(client: openai.AsyncOpenAI) -> None:
    huge = [{"role": "user", "content": "x" * 5_000_000}]
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(client, messages=huge)
    assert (caught.value.status_code, caught.value.code) == (413, "INVALID_PARAMETER_VALUE")
    assert "too large" in caught.value.message


async def test_429_of_a_limit_says_when_to_come_back(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, limits=[Limit("user", 1)])
    async with proxy(files) as running, client_of(running) as client:
        await ask(client)
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(client)
    assert (caught.value.code, caught.value.type) == ("REQUEST_LIMIT_EXCEEDED", "rate_limit_exceeded")
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 61


@pytest.mark.parametrize("status", [429, 503])
async def test_the_clients_own_retry_honours_retry_after(running: Running, upstream: FakeUpstream, status: int) -> None:
    upstream.scripts.append(whole(status, {"error": {"message": "later"}}, retry_after="2"))
    began = time.monotonic()
    async with client_of(running, retries=1) as client:
        answer = await ask(client)
    assert answer.choices[0].message.content == "The model is serving."
    assert time.monotonic() - began >= 1.9
    assert len(upstream.requests) == 2


async def test_overload_is_429_that_the_client_retries(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    upstream.scripts.append(silence())
    async with (
        proxy(files, process=ProcessSettings(max_in_flight=1)) as running,
        client_of(running, retries=3) as client,
    ):
        hanging = asyncio.create_task(ask(client))
        await until(lambda: upstream.requests)
        waiting = asyncio.create_task(ask(client))
        await asyncio.sleep(0.3)
        hanging.cancel()  # makes room while the other call waits for its next try
        assert (await waiting).choices


@pytest.mark.parametrize(
    ("script", "status", "exception"),
    [
        pytest.param(raw(close=True), 503, openai.InternalServerError, id="the provider closes"),
        pytest.param(raw(abort=True), 503, openai.InternalServerError, id="the provider resets"),
        pytest.param(whole(502, b"<html>"), 503, openai.InternalServerError, id="a web page of a balancer"),
        pytest.param(whole(500, {"error": {"message": "x"}}), 500, openai.InternalServerError, id="its own fault"),
        pytest.param(whole(409, {"error": {"message": "x"}}), 409, openai.ConflictError, id="a conflict"),
        pytest.param(whole(422, {"error": {"message": "x"}}), 400, openai.BadRequestError, id="unprocessable"),
        pytest.param(whole(401, {"error": {"message": "x"}}), 401, openai.AuthenticationError, id="a bad key of ours"),
    ],
)
async def test_what_a_provider_does_has_its_class(
    client: openai.AsyncOpenAI, upstream: FakeUpstream, script: Script, status: int, exception: type[Exception]
) -> None:
    upstream.scripts.append(script)
    with pytest.raises(exception) as caught:
        await ask(client)
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.status_code == status
    assert caught.value.code is not None or caught.value.message


async def test_a_provider_that_is_not_there_is_503_with_a_reason(files: Files) -> None:
    files.usual("http://127.0.0.1:1/v1")
    async with proxy(files) as running, client_of(running) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(client)
    assert (caught.value.status_code, caught.value.code) == (503, "TEMPORARILY_UNAVAILABLE")
    assert "at 127.0.0.1:1 cannot be reached: the connection is refused" in caught.value.message


SIZED = b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(stream([CHUNK], end=False), id="closes within its framing"),
        pytest.param(stream([CHUNK], end=True), id="ends without its mark"),
        pytest.param(raw(STREAM + b"transfer-encoding: chunked\r\n\r\n" + SIZED, abort=True), id="resets"),
        pytest.param(raw(STREAM + b"connection: close\r\n\r\n" + CHUNK, close=True), id="ends with its connection"),
        pytest.param(raw(STREAM + b"content-length: 9999\r\n\r\n" + CHUNK, close=True), id="is shorter than it says"),
        pytest.param(raw(STREAM + b"transfer-encoding: chunked\r\n\r\n" + SIZED + b"zz\r\n"), id="babbles"),
    ],
)
async def test_a_stream_that_breaks_raises_after_what_came(
    client: openai.AsyncOpenAI, upstream: FakeUpstream, script: Script
) -> None:
    upstream.scripts.append(script)
    texts = []
    with pytest.raises(openai.APIError) as caught:
        async for chunk in await ask(client, stream=True):
            texts.append(chunk.choices[0].delta.content)
    assert texts == ["begun"]
    assert caught.value.code == "TEMPORARILY_UNAVAILABLE"


@pytest.mark.parametrize("end", [True, False], ids=["ends without its mark", "closes"])
async def test_a_broken_stream_has_no_end_mark_on_the_wire(running: Running, upstream: FakeUpstream, end: bool) -> None:
    upstream.scripts.append(stream([CHUNK], end=end))
    headers = {"authorization": f"Bearer {TOKEN}"}
    body = {"model": "ep", "messages": MESSAGES, "stream": True}
    url = f"http://127.0.0.1:{running.port}/serving-endpoints/chat/completions"
    async with httpx.AsyncClient() as plain:
        answer = await plain.post(url, json=body, headers=headers)
    assert b"[DONE]" not in answer.content
    assert answer.content.count(b'"error"') == 1


async def test_an_error_that_the_provider_streams_is_raised_with_its_code(
    client: openai.AsyncOpenAI, upstream: FakeUpstream
) -> None:
    error = event({"error": {"message": "too long", "type": "invalid_request_error", "code": "length", "param": None}})
    upstream.scripts.append(stream([CHUNK, error, b"data: [DONE]\n\n"]))
    with pytest.raises(openai.APIError) as caught:
        async for _ in await ask(client, stream=True):
            pass
    assert (caught.value.code, caught.value.message) == ("length", "too long")


async def test_a_stream_that_stalls_raises(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    upstream.scripts.append(raw(STREAM + b"transfer-encoding: chunked\r\n\r\n" + SIZED))
    async with proxy(files, stream_idle_seconds=0.5) as running, client_of(running) as client:
        with pytest.raises(openai.APIError) as caught:
            async for _ in await ask(client, stream=True):
                pass
    assert caught.value.code == "DEADLINE_EXCEEDED"
