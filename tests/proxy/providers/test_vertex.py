"""Vertex AI: where each model is served, by which API, and what is refused when a config is compiled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call, Route, parse_call, parse_fields
from model_serving.proxy.credentials.google import GoogleIdentity, GoogleKey
from model_serving.proxy.errors import InvalidParameter, Unavailable
from model_serving.proxy.providers.base import Asked
from model_serving.proxy.providers.vertex import VertexAI
from model_serving.proxy.runtime import CompileError, compile_runtime
from model_serving.proxy_config import CredentialFile, Policy, ProxyConfig, Target

KEY = CredentialFile("vertex", "key.json")
PLACE = "/v1/projects/p-1/locations"


def target(model: str = "gemini-2.5-pro", task: str = CHAT, region: str = "europe-west4", **settings: str) -> Target:
    settings = {"project_id": "p-1", "region": region} | settings
    return Target("entity", VertexAI.name, task, model, settings=settings, credentials={"private_key": KEY})


def compiled(wanted: Target) -> Any:
    return compile_runtime(ProxyConfig("endpoint", 1, "revision", [wanted]), Policy("p")).targets[0]


@pytest.mark.parametrize(
    ("region", "host"),
    [
        pytest.param("europe-west4", "europe-west4-aiplatform.googleapis.com", id="a region's own host"),
        pytest.param("global", "aiplatform.googleapis.com", id="the global host"),
        pytest.param("us", "aiplatform.us.rep.googleapis.com", id="the United States as a whole"),
        pytest.param("eu", "aiplatform.eu.rep.googleapis.com", id="the European Union as a whole"),
    ],
)
def test_the_region_tells_the_host(region: str, host: str) -> None:
    whole = compiled(target(region=region)).whole
    assert whole.origin.https and whole.host == host
    assert whole.path == f"{PLACE}/{region}/publishers/google/models/gemini-2.5-pro:generateContent"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        pytest.param("https://vertex.example.com", "https://vertex.example.com/v1/", id="a host"),
        pytest.param(
            "https://gw.example.com:8443/vertex/", "https://gw.example.com:8443/vertex/v1/", id="port and path"
        ),
    ],
)
def test_a_base_takes_the_place_of_the_host(base: str, url: str) -> None:
    assert VertexAI().url(target(vertex_api_base=base), False).startswith(f"{url}projects/p-1/")


MODELS = [
    pytest.param("gemini-2.5-pro", CHAT, "google/models/gemini-2.5-pro:generateContent", id="Gemini"),
    pytest.param(
        "google/gemini-2.5-pro", CHAT, "google/models/gemini-2.5-pro:generateContent", id="with its publisher"
    ),
    pytest.param("publishers/google/models/gemma-3", CHAT, "google/models/gemma-3:generateContent", id="in full"),
    pytest.param("gemini-2.5-pro", COMPLETIONS, "google/models/gemini-2.5-pro:generateContent", id="completions"),
    pytest.param("claude-opus-4@20250514", CHAT, "anthropic/models/claude-opus-4@20250514:rawPredict", id="Claude"),
    pytest.param(
        "publishers/anthropic/models/claude-3", CHAT, "anthropic/models/claude-3:rawPredict", id="its full name"
    ),
    pytest.param("text-embedding-005", EMBEDDINGS, "google/models/text-embedding-005:predict", id="embeddings"),
    pytest.param("textembedding-gecko@003", EMBEDDINGS, "google/models/textembedding-gecko@003:predict", id="old ones"),
    pytest.param("gemini-embedding-001", EMBEDDINGS, "google/models/gemini-embedding-001:predict", id="Gemini's first"),
    pytest.param(
        "gemini-embedding-2", EMBEDDINGS, "google/models/gemini-embedding-2:embedContent", id="Gemini's later"
    ),
]


@pytest.mark.parametrize(("model", "task", "path"), MODELS)
def test_the_model_tells_the_path(model: str, task: str, path: str) -> None:
    assert compiled(target(model, task)).whole.path == f"{PLACE}/europe-west4/publishers/{path}"


def test_a_tuned_model_is_an_endpoint_of_its_region() -> None:
    name = "projects/p-2/locations/europe-west4/endpoints/77"
    assert compiled(target(name)).stream.path == f"/v1/{name}:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("model", "method"),
    [
        pytest.param("gemini-2.5-pro", "streamGenerateContent?alt=sse", id="Gemini, as events"),
        pytest.param("claude-opus-4", "streamRawPredict", id="Claude"),
    ],
)
def test_streams_have_a_method_of_their_own(model: str, method: str) -> None:
    stream = compiled(target(model)).stream
    assert stream.path.endswith(f"/{model}:{method}")
    assert b"accept: text/event-stream" in stream.head


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        pytest.param(
            target("publishers/meta/models/llama-4"), "name a model of Google or Anthropic", id="others' models"
        ),
        pytest.param(target("mistralai/mistral-large"), "name a model of Google or Anthropic", id="by publisher"),
        pytest.param(target("../../x"), "name a model of Google or Anthropic", id="a way out of the path"),
        pytest.param(target("gemini?x=1"), "name a model of Google or Anthropic", id="a query"),
        pytest.param(
            target("projects/p/locations/us/endpoints/7"), "in its own region", id="another region's endpoint"
        ),
        pytest.param(
            target("projects/p/locations/europe-west4/endpoints/7", EMBEDDINGS),
            "serves chat and",
            id="tuned embeddings",
        ),
        pytest.param(target("claude-3", COMPLETIONS), "serves chat only", id="completions of Claude"),
        pytest.param(target("claude-3", EMBEDDINGS), "serves chat only", id="embeddings of Claude"),
        pytest.param(
            target(region="evil.example.com/"), "region evil.example.com/ cannot be", id="a region with a host"
        ),
        pytest.param(target(region=""), "cannot be", id="no region"),
        pytest.param(target(project_id=".."), "cannot be", id="a project that leaves its place in the path"),
    ],
)
def test_what_cannot_be_served_is_refused_before_any_call(wanted: Target, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        compiled(wanted)


@pytest.mark.parametrize("name", ["project_id", "region"])
def test_a_setting_that_is_missing_is_named(name: str) -> None:
    wanted = target()
    del wanted.settings[name]
    with pytest.raises(CompileError, match=name):
        compiled(wanted)


def test_a_key_or_the_pods_identity_is_shown() -> None:
    assert VertexAI().scheme(target()) == GoogleKey(KEY)
    assert VertexAI().scheme(target(workload_identity="true")) == GoogleIdentity()


# Embeddings


def embed(body: dict[str, Any]) -> Call:
    fields = parse_fields(json.dumps(body).encode())
    return parse_call(Route(task=EMBEDDINGS), fields, EMBEDDINGS, "endpoint")


@pytest.mark.parametrize(
    ("model", "texts", "sizes"),
    [
        pytest.param("text-embedding-005", ["x"] * 501, [250, 250, 1], id="250 texts"),
        pytest.param("text-embedding-005", ["x" * 8000] * 5, [2, 2, 1], id="20,000 characters"),
        pytest.param("text-embedding-005", ["x" * 30000, "y"], [1, 1], id="a text that is larger stands alone"),
        pytest.param("gemini-embedding-001", ["x", "y"], [1, 1], id="one text where the model takes one"),
    ],
)
def test_texts_are_sent_in_batches_and_answered_in_order(model: str, texts: list[str], sizes: list[int]) -> None:
    dialect = VertexAI().dialect(target(model, EMBEDDINGS))
    call = embed({"input": texts})
    bodies = [json.loads(body) for body in dialect.request(call)]
    assert [len(body["instances"]) for body in bodies] == sizes
    assert [instance["content"] for body in bodies for instance in body["instances"]] == texts
    numbers = iter(range(len(texts)))
    replies = [
        json.dumps(
            {
                "predictions": [
                    {"embeddings": {"values": [next(numbers)], "statistics": {"tokenCount": 2}}} for _ in range(n)
                ]
            }
        ).encode()
        for n in sizes
    ]
    reply = dialect.reply(Asked(call, model, "request-1", 0), replies)
    assert [item["embedding"] for item in json.loads(reply.body)["data"]] == [[n] for n in range(len(texts))]
    assert reply.usage is not None and reply.usage.prompt_tokens == 2 * len(texts)


def test_embeddings_are_not_streamed() -> None:
    dialect = VertexAI().dialect(target("text-embedding-005", EMBEDDINGS))
    assert dialect.stream_type == b""
    with pytest.raises(Unavailable):
        dialect.stream(Asked(embed({"input": "x"}), "m", "request-1", 0))


def test_too_few_vectors_are_no_answer() -> None:
    dialect = VertexAI().dialect(target("text-embedding-005", EMBEDDINGS))
    with pytest.raises(Unavailable, match="0 embeddings for 1 texts"):
        dialect.reply(Asked(embed({"input": "x"}), "m", "request-1", 0), [b'{"predictions": []}'])


def test_a_field_that_embeddings_do_not_have_is_refused() -> None:
    dialect = VertexAI().dialect(target("text-embedding-005", EMBEDDINGS))
    with pytest.raises(InvalidParameter, match="temperature"):
        dialect.request(embed({"input": "x", "temperature": 1}))
