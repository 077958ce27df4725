"""Vertex AI's types: google-genai's, and what its own client would send for the same; Claude's are Anthropic's."""

from __future__ import annotations

import json
import re
import warnings
from functools import cache
from typing import Any
from urllib.parse import unquote

import pydantic
from google.auth.credentials import AnonymousCredentials
from google.genai import Client, types

from tests.proxy.providers.vendors import anthropic

VERSION = "vertex-2023-10-16"
STREAM = "?alt=sse"
FIELDS = frozenset(
    ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent")
)
"""Of a request that generates; the package has no type for it as a whole."""
OPAQUE = frozenset(("args", "response", "parametersJsonSchema", "responseJsonSchema"))
"""Fields that hold the user's own names."""


class _Sent(Exception):
    """What the package's client would send: path and body."""


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """The package's client sends the same body to the same path when it is given the same words."""
    path = unquote(path)
    if "/publishers/anthropic/" in path:
        _accept_claude(stream, path, body)
        return
    found = re.search(r"/v1/projects/[^/]+/locations/[^/]+/(publishers/google/models/[^/:]+):", path)
    tuned = re.search(r"/v1/(projects/[^/]+/locations/[^/]+/endpoints/[^/:]+):", path)
    match = found or tuned
    assert match is not None, path
    model = match.group(1)
    if task == "embeddings":
        sent, there = _embedding(model, path, body)
        assert sent == body
    else:
        sent, there = _generation(model, body)
        assert _plain(sent) == _plain(body)
        if stream:
            there = there.replace(":generateContent", ":streamGenerateContent") + STREAM
    assert path.endswith(there), f"{path} is not {there}"


def accept_reply(task: str, body: Any) -> None:
    """The body is one that the package's types write: nothing in it is unknown."""
    if body.get("type") == "message":
        anthropic.accept_reply("chat", body)
    elif task == "embeddings":
        _accept_embeddings(body)
    else:
        read = _read(types.GenerateContentResponse, body)
        assert _plain(wire(read)) == _plain(body)


def accept_stream(task: str, raw: bytes) -> None:
    """Each event is an answer."""
    if b"event: message_start" in raw:
        anthropic.accept_stream("chat", raw)
        return
    events = [event for event in raw.replace(b"\r\n", b"\n").split(b"\n\n") if event]
    assert events
    for event in events:
        assert event.startswith(b"data: ")
        body = json.loads(event.removeprefix(b"data: "))
        if "error" not in (body[0] if isinstance(body, list) else body):
            accept_reply(task, body)


def wire(answer: pydantic.BaseModel) -> Any:
    """An answer of the package's types as it is sent."""
    return json.loads(answer.model_dump_json(by_alias=True, exclude_none=True))


def sse(answers: list[types.GenerateContentResponse]) -> bytes:
    """A stream of them."""
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(wire(answer)).encode() for answer in answers)


def _accept_claude(stream: bool, path: str, body: Any) -> None:
    assert path.endswith(":streamRawPredict" if stream else ":rawPredict"), path
    assert body.get("anthropic_version") == VERSION and "model" not in body
    plain = {name: value for name, value in body.items() if name != "anthropic_version"}
    anthropic.accept_request("chat", stream, "/v1/messages", plain | {"model": "claude"})


@cache
def _client() -> Client:
    client = Client(vertexai=True, project="project", location="global", credentials=AnonymousCredentials())

    def send(method: str, path: str, body: Any, *rest: Any) -> Any:
        raise _Sent(path, body)

    client._api_client.request = send  # type: ignore[method-assign]
    return client


def _generation(model: str, body: Any) -> tuple[Any, str]:
    assert body.keys() <= FIELDS
    _read(types.GenerationConfig, body.get("generationConfig", {}))
    rest = {name: value for name, value in body.items() if name not in ("contents", "generationConfig")}
    config = _read(types.GenerateContentConfig, rest | body.get("generationConfig", {}))
    contents = [_read(types.Content, content) for content in body["contents"]]
    try:
        _client().models._generate_content(model=model, contents=contents, config=config)
    except _Sent as sent:
        path, told = sent.args
        return {name: value for name, value in told.items() if name != "_url" and value != {}}, path
    raise AssertionError("nothing was sent")


def _embedding(model: str, path: str, body: Any) -> tuple[Any, str]:
    kind: types.EmbeddingApiType
    if path.endswith(":embedContent"):
        assert body.keys() <= {"content", "embedContentConfig"}
        kind, config = types.EmbeddingApiType.EMBED_CONTENT, body.get("embedContentConfig", {})
        told = {"content": _read(types.Content, body["content"])}
    else:
        assert body.keys() <= {"instances", "parameters"}
        first = {name: value for name, value in body["instances"][0].items() if name != "content"}
        kind, config = types.EmbeddingApiType.PREDICT, body.get("parameters", {}) | first
        told = {"contents": [instance["content"] for instance in body["instances"]]}
    settings = _read(types.EmbedContentConfig, config) if config else None
    try:
        _client().models._embed_content(model=model, embedding_api_type=kind, config=settings, **told)
    except _Sent as sent:
        path, sending = sent.args
        return {name: value for name, value in sending.items() if name != "_url"}, path
    raise AssertionError("nothing was sent")


def _accept_embeddings(body: Any) -> None:
    assert body.keys() <= {"predictions", "metadata", "embedding", "usageMetadata", "truncated"}
    _read(types.EmbedContentMetadata, body.get("metadata", {}))
    _read(types.UsageMetadata, body.get("usageMetadata", {}))
    for prediction in body.get("predictions", ()):
        assert prediction.keys() == {"embeddings"}
        _read(types.ContentEmbedding, prediction["embeddings"])
    if "predictions" not in body:
        _read(types.ContentEmbedding, body["embedding"])


def _read(kind: type[pydantic.BaseModel], body: Any) -> Any:
    """The body as one of the package's types; a word that an enumeration does not have is an error, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return kind.model_validate_json(json.dumps(body))


def _plain(value: Any) -> Any:
    """JSON with names in camelCase and base64 in one alphabet: the package sends and takes both of either."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found.group(1).upper(), name): inner for name, inner in value.items()}
    return {name: _inner(name, inner) for name, inner in named.items()}


def _inner(name: str, value: Any) -> Any:
    if name in ("data", "thoughtSignature"):
        return value.replace("+", "-").replace("/", "_")
    return value if name in OPAQUE else _plain(value)
