"""The official openai package against the proxy and straight against the provider: the same answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from model_serving.proxy_config import CredentialFile
from tests.fakes.upstream import FakeUpstream, event, stream, whole
from tests.proxy.harness import MESSAGES, TOKEN, Files, Running, proxy, target

TASKS = {"chat": "llm/v1/chat", "completions": "llm/v1/completions", "embeddings": "llm/v1/embeddings"}


def client_of(base: str, token: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base, api_key=token, max_retries=0, timeout=15)


@pytest.fixture(params=["openai", "custom"])
async def clients(request: pytest.FixtureRequest, files: Files, upstream: FakeUpstream) -> AsyncIterator[Any]:
    """Starts a proxy for a task; gives a client of it and one of the provider itself."""
    opened: list[Any] = []

    async def start(task: str) -> tuple[openai.AsyncOpenAI, openai.AsyncOpenAI]:
        files.usual(upstream.base)
        changes: dict[str, Any] = {"task": TASKS[task], "model": "ep"}
        if request.param == "custom":
            path = "chat/completions" if task == "chat" else task
            changes |= {
                "provider": "custom",
                "settings": {"custom_provider_url": f"{upstream.base}/{path}", "key": "x-key"},
                "credentials": {"value": CredentialFile("vendor", "token")},
            }
        files.config([target(upstream.base, **changes)])
        running = proxy(files)
        opened.append(running)
        await running.__aenter__()
        pair = client_of(f"http://127.0.0.1:{running.port}/serving-endpoints", TOKEN), client_of(upstream.base, "x")
        opened.extend(pair)
        return pair

    yield start
    for thing in reversed(opened):
        await (thing.__aexit__() if isinstance(thing, Running) else thing.close())


async def test_chat(clients: Any) -> None:
    ours, theirs = await clients("chat")
    answers = [await c.chat.completions.create(model="ep", messages=MESSAGES) for c in (ours, theirs)]
    assert answers[0].model_dump() == answers[1].model_dump()
    assert answers[0].choices[0].message.content == "The model is serving."


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["plain", "with usage"])
async def test_chat_stream(clients: Any, options: dict[str, Any]) -> None:
    ours, theirs = await clients("chat")
    found = []
    for client in (ours, theirs):
        chunks = await client.chat.completions.create(model="ep", messages=MESSAGES, stream=True, **options)
        found.append([chunk.model_dump() async for chunk in chunks])
    assert found[0] == found[1]
    assert "".join(c["choices"][0]["delta"]["content"] for c in found[0] if c["choices"]) == "The model is serving."


async def test_completions(clients: Any) -> None:
    ours, theirs = await clients("completions")
    answers = [await c.completions.create(model="ep", prompt="hi") for c in (ours, theirs)]
    assert answers[0].model_dump() == answers[1].model_dump()
    chunks = await ours.completions.create(model="ep", prompt="hi", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in chunks]) == "The model is serving."


async def test_embeddings(clients: Any) -> None:
    ours, theirs = await clients("embeddings")
    answers = [await c.embeddings.create(model="ep", input=["a", "b"], encoding_format="float") for c in (ours, theirs)]
    assert answers[0].model_dump() == answers[1].model_dump()
    assert answers[0].data[1].embedding == [0.25, -0.5, 1.0]


async def test_models(clients: Any) -> None:
    ours, _ = await clients("chat")
    assert [model.id async for model in ours.models.list()] == ["ep"]


async def test_errors_have_their_class_and_details(clients: Any, upstream: FakeUpstream) -> None:
    ours, _ = await clients("chat")
    error = {"error": {"message": "too hot", "type": "invalid_request_error", "code": "bad", "param": "temperature"}}
    upstream.scripts.append(whole(400, error))
    with pytest.raises(openai.BadRequestError) as caught:
        await ours.chat.completions.create(model="ep", messages=MESSAGES)
    assert (caught.value.code, caught.value.param, caught.value.type) == ("bad", "temperature", "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        await ours.chat.completions.create(model="no", messages=MESSAGES)
    with pytest.raises(openai.AuthenticationError):
        await ours.with_options(api_key="wrong").chat.completions.create(model="ep", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="llm/v1/embeddings"):
        await ours.embeddings.create(model="ep", input="x")


async def test_a_stream_that_is_cut_raises(clients: Any, upstream: FakeUpstream) -> None:
    ours, _ = await clients("chat")
    chunk = event({"id": "1", "object": "chat.completion.chunk", "choices": [], "created": 1, "model": "m"})
    upstream.scripts.append(stream([chunk], end=False))
    with pytest.raises(openai.APIError, match=r"not complete|broke|failed"):
        async for _ in await ours.chat.completions.create(model="ep", messages=MESSAGES, stream=True):
            pass
