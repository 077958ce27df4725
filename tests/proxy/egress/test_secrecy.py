"""No credential in any answer, log, metric, trace or status, however loud a provider is. One row per scheme."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from model_serving.proxy import journal
from model_serving.proxy.otel import OtelTracer
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy.settings import ProcessSettings
from tests.fakes.upstream import FakeUpstream, Received, Script, raw
from tests.proxy.egress.ways import BODIES, WAYS, Services, Way, origin_of
from tests.proxy.harness import Files, Running, proxy, request_bytes, talk, until
from tests.proxy.providers.vendors.amazon_bedrock import frame

OPENAI = "/serving-endpoints/chat/completions"


def shown(request: Received) -> str:
    """The request's headers, as they are and in other spellings, and each word of them alone."""
    values = [value for _, value in request.headers]
    words = [word for value in values for word in value.replace(",", " ").replace("=", " ", 1).split()]
    said = [f"{name}: {value}" for name, value in request.headers] + words
    spelt = [spell(each) for each in (*values, *words) for spell in SPELLINGS]
    return " | ".join([*said, *spelt])


def in_base64(text: str) -> str:
    return base64.b64encode(f"user:{text}".encode()).decode()


def in_json(text: str) -> str:
    return json.dumps(json.dumps(text))


def in_percent(text: str) -> str:
    return quote(text, safe="")


SPELLINGS: tuple[Callable[[str], str], ...] = (in_base64, in_json, in_percent)


def whole(status: int, body: Callable[[str], Any], **headers: str) -> Script:
    """An answer that repeats the request; JSON unless it is text."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        told = body(shown(request))
        content = told.encode() if isinstance(told, str) else _escaped(json.dumps(told))
        lines = {"content-type": "application/json", "content-length": str(len(content))} | headers
        lines = {name.replace("_", "-"): value.replace("{}", request_line(request)) for name, value in lines.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await raw(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content)(request, writer)

    return script


def _escaped(text: str) -> bytes:
    """JSON that spells a letter of each canary by its number."""
    return text.replace("canary", "c\\u0061nary").encode()


def request_line(request: Received) -> str:
    return " ".join(value for _, value in request.headers)


def stream(kind: str, content: Callable[[str], bytes]) -> Script:
    """A stream whose only content repeats the request."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        body = content(shown(request))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        await raw(head.encode() + body)(request, writer)

    return script


def sse(name: str, data: Any) -> bytes:
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(data)}\n\n".encode()


EVENTS: dict[str, Callable[[str], bytes]] = {
    "openai": lambda said: sse("", {"error": {"message": said, "type": said, "code": None, "param": None}}),
    "anthropic": lambda said: sse("error", {"type": "error", "error": {"type": "overloaded_error", "message": said}}),
    "google": lambda said: sse("", {"error": {"code": 429, "message": said, "status": "RESOURCE_EXHAUSTED"}}),
    "cohere": lambda said: sse("", {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": said}}),
    "unknown": lambda said: sse("error", {"error": said, said: said, "type": said, "object": said}),
    "no JSON": lambda said: f'data: {{"error": {said}\n\n'.encode(),
}  # fmt: skip
FRAMES: dict[str, Callable[[str], bytes]] = {
    "exception": lambda said: frame("throttlingException", {"message": said}, "exception"),
    "event": lambda said: frame("messageStart", {"role": said}),
    "no frame": lambda said: said.encode(),
}
ERROR = {"type": "invalid_request_error", "code": None, "param": None}
WHOLE: tuple[Script, ...] = (
    whole(401, lambda said: {"error": {"message": said} | ERROR}, www_authenticate="Bearer {}"),
    whole(403, lambda said: {"message": said, "__type": said}, x_amzn_errortype="{}"),
    whole(400, lambda said: {"error": {"code": 400, "message": said, "status": said, "details": [{said: said}]}}),
    whole(429, lambda said: {"detail": said}, retry_after="{}", x_should_retry="{}", retry_after_ms="{}"),
    whole(500, lambda said: said, content_type="text/html; {}"),
    whole(503, lambda said: [said, {said: [said]}]),
    whole(307, lambda said: said, location="https://elsewhere.example.com/?{}"),
    whole(200, lambda said: {"error": {"message": said, "type": said}}),
    whole(200, lambda said: {"object": "error", "message": said, "error": said}),
    whole(200, lambda said: f'{{"error": "{said}'),
    whole(200, lambda said: {"error": said}, content_encoding="{}"),
)


@dataclass(frozen=True)
class Words:
    """What a proxy writes down of its own."""

    logged: pytest.LogCaptureFixture
    spans: InMemorySpanExporter

    def all(self) -> bytes:
        """All of it."""
        records = [f"{record.getMessage()} {record.exc_text}" for record in self.logged.records]
        return " ".join([*records, *(span.to_json() for span in self.spans.get_finished_spans())]).encode()


@dataclass
class Ears:
    """Everything that a proxy says to anybody."""

    running: Running
    log: Path
    words: Words
    heard: bytes = b""

    async def call(self, path: str, body: dict[str, Any]) -> bytes:
        """The answer's bytes, head included."""
        content = json.dumps(body).encode()
        answer = await talk(self.running.port, request_bytes("POST", path, content, {"connection": "close"}), pause=0.0)
        self.heard += answer
        return answer

    async def all(self) -> bytes:
        """All of it."""
        for path in ("/status", "/metrics", "/readyz", "/livez"):
            request = request_bytes("GET", path, None, {"connection": "close"})
            self.heard += await talk(self.running.admin_port, request, pause=0.0)
        return self.heard + self.log.read_bytes() + self.words.all()


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Words:
    """What proxies that start from now on log and trace."""
    caplog.set_level(logging.DEBUG, logger="model_serving")
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(journal, "open_tracer", lambda wanted: OtelTracer(provider))
    return Words(caplog, exporter)


@pytest.fixture
async def ears(
    request: pytest.FixtureRequest, files: Files, upstream: FakeUpstream, services: Services, words: Words
) -> AsyncIterator[Ears]:
    way: Way = request.param
    platform = way.lay_out(files, services, origin_of(upstream))
    log = files.root / "access.log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        async with proxy(files, platform=platform, process=ProcessSettings(access_log_fd=fd)) as running:
            await until(lambda: running.service.state.ready)  # type: ignore[attr-defined]
            yield Ears(running, log, words)
    finally:
        os.close(fd)


def test_every_registered_provider_has_a_way() -> None:
    assert {way.provider for way in WAYS} == {name for name, made in PROVIDERS.items() if made.tasks and name != "palm"}


def leaks(way: Way, services: Services, told: bytes) -> list[str]:
    """The canaries that can be read in `told`, in any spelling that was tried."""
    found = []
    for secret in (*way.canaries, *services.issued):
        forms = {secret, secret.replace("canary", "c\\u0061nary"), *(spell(secret) for spell in SPELLINGS)}
        forms |= {base64.b64encode(b"\0" * at + secret.encode()).decode()[4:-4] for at in range(3)}
        found += [form for form in forms if len(form) > 7 and form.encode() in told]
    return found


@pytest.mark.parametrize("ears", WAYS, indirect=True, ids=lambda way: way.name)
async def test_nothing_that_a_provider_repeats_gets_out(
    ears: Ears, upstream: FakeUpstream, services: Services, request: pytest.FixtureRequest
) -> None:
    way: Way = request.node.callspec.params["ears"]
    path, body = BODIES[way.task]
    for script in WHOLE:
        upstream.scripts[:] = [script] * 2  # a refused credential is tried once more
        await ears.call(path, body)
    for kind, contents in (("text/event-stream", EVENTS), ("application/vnd.amazon.eventstream", FRAMES)):
        for content in contents.values():
            upstream.scripts[:] = [stream(kind, content)] * 2
            await ears.call(path, body | {"stream": True})
    if way.task.endswith("chat"):
        upstream.scripts[:] = [WHOLE[0], WHOLE[0]]
        await ears.call(OPENAI, body | {"model": "ep"})
    broken = b"HTTP/1.1 200 " + "".join(way.canaries).encode() + b"\r\nx"
    upstream.scripts[:] = [raw(broken, close=True)]
    await ears.call(path, body)
    told = await ears.all()
    assert upstream.requests, "it was called"
    assert b"[redacted]" in told, "the answers do hold what the provider said"
    assert ears.words.spans.get_finished_spans(), "it was traced"
    assert not leaks(way, services, told)


@pytest.mark.parametrize(
    "way", [way for way in WAYS if not way.secrets or way.name in ("azuread", "vertex key")], ids=lambda way: way.name
)
async def test_nothing_that_a_token_service_repeats_gets_out(
    files: Files, upstream: FakeUpstream, services: Services, way: Way, words: Words
) -> None:
    def body(said: Received) -> str:
        return f"{shown(said)} {said.body.decode()} {said.path}"

    async def repeat(received: Received, writer: asyncio.StreamWriter) -> None:
        content = json.dumps({"error": "invalid_client", "error_description": body(received)}).encode()
        head = f"HTTP/1.1 401 X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)

    services.tokens.scripts += [repeat] * 50
    services.aws.scripts += [repeat] * 50
    platform = way.lay_out(files, services, origin_of(upstream))
    async with proxy(files, platform=platform) as running:
        ears = Ears(running, Path(os.devnull), words)
        await until(lambda: running.service.state.credentials.tokens()[0].problem)  # type: ignore[attr-defined]
        path, fields = BODIES[way.task]
        assert b" 503 " in await ears.call(path, fields)
        told = await ears.all()
    assert not leaks(way, services, told)
    assert not upstream.requests
