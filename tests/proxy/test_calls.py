"""Whole calls through a real proxy to a provider on a real socket."""

from __future__ import annotations

from tests.fakes.upstream import FakeUpstream
from tests.proxy.harness import SECRET, Running, chat


async def test_a_chat_call_is_answered_with_the_models_words(running: Running, upstream: FakeUpstream) -> None:
    answer = await chat(running.port)
    assert answer.status == 200, answer
    assert answer.json["choices"][0]["message"]["content"] == "The model is serving."
    assert answer.headers["served-model-name"] == "gpt"
    assert answer.headers["x-config-version"] == "3"
    assert answer.headers["x-request-id"]
    sent = upstream.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.json["model"] == "gpt-real"
    assert sent.header("authorization") == f"Bearer {SECRET}"


async def test_a_stream_is_forwarded_without_the_usage_that_only_we_asked_for(running: Running) -> None:
    answer = await chat(running.port, stream=True)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.body.count(b"data: {") == 4
