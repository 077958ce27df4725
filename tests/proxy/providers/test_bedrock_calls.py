"""Bedrock through a whole proxy: streams of binary frames over real sockets, errors amid them, one text per request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from model_serving.proxy.call import EMBEDDINGS
from model_serving.proxy_config import CredentialFile, Target
from tests.fakes.upstream import FakeUpstream, Received, Script, whole
from tests.proxy.harness import Files, Running, call, chat, proxy, target
from tests.proxy.providers.answers import events_of
from tests.proxy.providers.vendors.amazon_bedrock import frame

WORDS = ("The ", "model ", "is ", "serving ✓.")
USAGE = {"inputTokens": 7, "outputTokens": 4, "totalTokens": 11}
TEXT = [frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in WORDS]
END = [
    frame("contentBlockStop", {"contentBlockIndex": 0}),
    frame("messageStop", {"stopReason": "end_turn"}),
    frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        yield upstream


def running(files: Files, upstream: FakeUpstream, maker: str = "anthropic", **changes: Any) -> Running:
    keys = ("aws_access_key_id", "aws_secret_access_key")
    settings = {"aws_region": "eu-central-1", "bedrock_provider": maker}
    settings["aws_endpoint_url"] = f"http://127.0.0.1:{upstream.port}"
    values = {"provider": "amazon-bedrock", "model": "eu.anthropic.claude:0", "entity": "claude"} | changes
    bedrock: Target = target(
        "", credentials={name: CredentialFile("aws", name) for name in keys}, settings=settings, **values
    )
    for name in keys:
        files.secret("sk-test-aws", "aws", name)
    files.config([bedrock])
    files.policy()
    files.key()
    return proxy(files)


def frames(pieces: Sequence[bytes], size: int = 0) -> Script:
    """Streams these bytes, in chunks of `size`."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n")
        data = b"".join(pieces)
        for at in range(0, len(data), size or len(data)):
            part = data[at : at + (size or len(data))]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize("size", [0, 1, 37, 500])
async def test_a_stream_of_frames_is_ours(files: Files, upstream: FakeUpstream, size: int) -> None:
    upstream.scripts.append(frames([frame("messageStart", {"role": "assistant"}), *TEXT, *END], size))
    async with running(files, upstream) as proxied:
        answer = await chat(proxied.port, stream=True, stream_options={"include_usage": True})
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    chunks = [ChatCompletionChunk.model_validate(event) for event in events_of(answer.body)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "".join(WORDS)
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 11
    (request,) = upstream.requests
    assert request.path == "/model/eu.anthropic.claude%3A0/converse-stream"
    assert (request.header("accept") or "").startswith("application/vnd.amazon.eventstream")
    assert (request.header("authorization") or "").startswith("AWS4-HMAC-SHA256 Credential=")


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        pytest.param([frame("throttlingException", {"message": "Slow down."}, "exception")], "Slow down.", id="error"),
        pytest.param([], "before its end mark", id="broken off"),
        pytest.param([TEXT[0][:-3]], "before its end mark", id="broken off within a frame"),
        pytest.param([TEXT[0][:-1] + b"\x00"], "damaged", id="damaged"),
    ],
)
@pytest.mark.parametrize("size", [0, 1])
async def test_what_goes_wrong_amid_a_stream_is_told_after_what_came_before(
    files: Files, upstream: FakeUpstream, rest: list[bytes], words: str, size: int
) -> None:
    upstream.scripts.append(frames([*TEXT, *rest], size))
    async with running(files, upstream) as proxied:
        answer = await chat(proxied.port, stream=True)
    assert answer.status == 200 and b"[DONE]" not in answer.body
    *events, error = events_of(answer.body)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "".join(WORDS)
    assert words in error["error"]["message"]


async def test_an_error_in_place_of_a_stream_has_its_status(files: Files, upstream: FakeUpstream) -> None:
    upstream.scripts.append(whole(429, {"message": "Too many tokens, please wait before trying again."}))
    async with running(files, upstream) as proxied:
        answer = await chat(proxied.port, stream=True)
    assert answer.status == 429 and answer.headers["retry-after"] == "1"
    assert "Too many tokens" in answer.body.decode()


async def test_each_text_is_a_request_and_the_vectors_come_in_order(files: Files, upstream: FakeUpstream) -> None:
    texts = [f"text {number}" for number in range(20)]

    async def embed(request: Received, writer: asyncio.StreamWriter) -> None:
        number = int(request.json["inputText"].removeprefix("text "))
        await asyncio.sleep(0.002 * (20 - number))
        await whole(200, {"embedding": [float(number)], "inputTextTokenCount": 2})(request, writer)

    upstream.scripts += [embed] * len(texts)
    async with running(files, upstream, "amazon", task=EMBEDDINGS, model="amazon.titan-embed-text-v2:0") as proxied:
        answer = await call(proxied.port, "/serving-endpoints/ep/invocations", {"input": texts})
    assert answer.status == 200, answer.body
    assert [item["embedding"] for item in answer.json["data"]] == [[float(number)] for number in range(20)]
    assert answer.json["usage"] == {"prompt_tokens": 40, "total_tokens": 40}
    assert {request.path for request in upstream.requests} == {"/model/amazon.titan-embed-text-v2%3A0/invoke"}
