"""The demo provider as the official `openai` package and plain HTTP see it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp.test_utils import TestServer

from model_serving.demo_provider.server import DemoSettings, build_app


def say(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture
async def base() -> AsyncIterator[str]:
    async with TestServer(build_app(DemoSettings(pace=0.0))) as server:
        yield str(server.make_url("/v1"))


@pytest.fixture
async def client(base: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base, api_key="any", max_retries=0, timeout=20) as client:
        yield client


async def test_chat_echoes_and_counts(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="demo-chat", messages=say("hello, world"))
    assert answer.choices[0].message.content == "You said: hello, world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 6, 9)


@pytest.mark.parametrize("include_usage", [True, False])
async def test_chat_streams_the_same_words(client: openai.AsyncOpenAI, include_usage: bool) -> None:
    stream = await client.chat.completions.create(
        model="demo-chat", messages=say("hello, world"), stream=True, stream_options={"include_usage": include_usage}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "You said: hello, world"
    assert [c.usage.total_tokens for c in chunks if c.usage] == ([9] if include_usage else [])


async def test_completions(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="demo-completions", prompt="one two three", max_tokens=3)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("You said: one ", "length")
    stream = await client.completions.create(model="demo-completions", prompt="one two", stream=True)
    assert "".join([c.choices[0].text async for c in stream]) == "You said: one two"


async def test_embeddings_are_equal_unit_vectors_in_both_encodings(client: openai.AsyncOpenAI) -> None:
    async def embed(encoding: Any) -> list[list[float]]:
        answer = await client.embeddings.create(
            model="demo-embeddings", input=["a", "b"], dimensions=8, encoding_format=encoding
        )
        return [item.embedding for item in answer.data]

    plain = await embed("float")
    # The package asks for base64 when no encoding is named, and decodes it.
    decoded = (await client.embeddings.create(model="m", input=["a", "b"], dimensions=8)).data
    assert plain[0] != plain[1]
    assert math.isclose(sum(v * v for v in plain[0]), 1.0, rel_tol=1e-6)
    assert decoded[1].embedding == pytest.approx(plain[1], abs=1e-6)


async def test_embeddings_have_the_dimensions_of_ada_by_default(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="text-embedding-ada-002", input="x")
    assert len(answer.data[0].embedding) == 1536


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert "demo-chat" in [m.id async for m in client.models.list()]
    assert (await client.models.retrieve("demo-chat")).id == "demo-chat"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_demanded_tool_is_called(client: openai.AsyncOpenAI, stream: bool) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": {"required": ["city"]}}}
    arguments: dict[str, Any] = {"model": "m", "messages": say("Oslo"), "tools": [tool], "tool_choice": "required"}
    answer: Any = await client.chat.completions.create(**arguments, stream=stream)
    if stream:
        chunks = [c async for c in answer]
        call = next(c.choices[0].delta.tool_calls[0] for c in chunks if c.choices[0].delta.tool_calls)
        finish = chunks[-1].choices[0].finish_reason
    else:
        call, finish = answer.choices[0].message.tool_calls[0], answer.choices[0].finish_reason
    assert (call.function.name, call.function.arguments, finish) == ("weather", '{"city": "Oslo"}', "tool_calls")


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, openai.RateLimitError), (503, openai.InternalServerError), (404, openai.NotFoundError)],
)
async def test_errors_on_request(client: openai.AsyncOpenAI, status: int, error: type[openai.APIStatusError]) -> None:
    with pytest.raises(error) as caught:
        await client.chat.completions.create(model="m", messages=say(f"[demo:status={status},retry-after=7]"))
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("model", ["m[demo:status=503]", "m"])
async def test_the_model_name_can_carry_the_wish(client: openai.AsyncOpenAI, model: str) -> None:
    call = client.embeddings.create(model=model, input="x")
    if model == "m":
        assert (await call).data
    else:
        with pytest.raises(openai.InternalServerError):
            await call


async def test_a_cut_stream_breaks_off(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="m", messages=say("[demo:events=9,cut=3]"), stream=True)
    seen = []
    with pytest.raises(Exception, match=r"(?i)peer|incomplete|closed"):
        async for chunk in stream:
            seen.append(chunk)
    assert len(seen) == 3


async def test_an_open_end_lacks_the_end_mark(base: str) -> None:
    async with aiohttp.ClientSession() as session:
        body = {"model": "m", "stream": True, "messages": say("[demo:events=2,open-end]")}
        async with session.post(f"{base}/chat/completions", json=body) as answer:
            text = await answer.text()
    assert text.count("data: ") == 4
    assert "[DONE]" not in text


async def test_garbage_is_no_json(base: str) -> None:
    async with aiohttp.ClientSession() as session:
        body = {"model": "m", "messages": say("[demo:garbage]")}
        async with session.post(f"{base}/chat/completions", json=body) as answer:
            assert (answer.status, (await answer.read())[:6]) == (200, b"<html>")


@pytest.mark.parametrize(
    ("call", "body", "status", "named"),
    [
        pytest.param("POST /chat/completions", b"{", 400, "JSON", id="not JSON"),
        pytest.param("POST /chat/completions", b"[]", 400, "object", id="not an object"),
        pytest.param("POST /chat/completions", b"{}", 400, "model", id="no model"),
        pytest.param("POST /chat/completions", b'{"model":"m"}', 400, "messages", id="no messages"),
        pytest.param("POST /completions", b'{"model":"m"}', 400, "prompt", id="no prompt"),
        pytest.param("POST /embeddings", b'{"model":"m"}', 400, "input", id="no input"),
        pytest.param(
            "POST /embeddings", b'{"model":"m","input":"[demo:bang]"}', 400, "bang", id="unknown wish is named"
        ),
        pytest.param("POST /images", b"{}", 404, "/v1/images", id="unknown path"),
        pytest.param("GET /embeddings", None, 405, "Method", id="wrong method"),
    ],
)
async def test_bad_requests_get_openais_error_shape(
    base: str, call: str, body: bytes | None, status: int, named: str
) -> None:
    method, path = call.split()
    async with aiohttp.ClientSession() as session, session.request(method, base + path, data=body) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
    assert named in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


async def test_keys_are_checked_and_the_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# accepted\nfirst\n")
    async with TestServer(build_app(DemoSettings(keys=("fixed",), keys_file=file))) as server:

        async def accepted(key: str) -> bool:
            base = str(server.make_url("/v1"))
            async with openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=0) as client:
                try:
                    await client.models.list()
                except openai.AuthenticationError as refusal:
                    assert refusal.code == "invalid_api_key"
                    assert key not in str(refusal)
                    return False
                return True

        assert [await accepted(key) for key in ("fixed", "first", "second")] == [True, True, False]
        file.write_text("second\nthird\n")
        assert [await accepted(key) for key in ("fixed", "first", "second")] == [True, False, True]
        file.unlink()
        assert [await accepted(key) for key in ("fixed", "first", "second")] == [True, False, False]
        async with aiohttp.ClientSession() as session, session.get(server.make_url("/healthz")) as answer:
            assert answer.status == 200
