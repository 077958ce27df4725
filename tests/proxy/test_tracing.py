"""Traces: what a real OTLP receiver gets of calls through a real proxy process, and what providers see."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from model_serving.proxy import tracing
from model_serving.proxy.settings import ProcessSettings
from tests.fakes.upstream import FakeUpstream, whole
from tests.proxy.harness import SECRET, TOKEN, Files, Running, chat, proxy, until
from tests.proxy.processes import PROXY, Child, start

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"

pytestmark = pytest.mark.slow


class Collector:
    """An OTLP receiver over HTTP on a free port."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.raw = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.raw += body
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Traced:
    """A proxy process that sends traces; `spans` ends it and returns what it sent."""

    def __init__(self, child: Child, collector: Collector) -> None:
        self.port = child.port
        self._child = child
        self._collector = collector

    async def spans(self) -> list[Span]:
        self._child.terminate()
        assert await asyncio.to_thread(self._child.wait) == 0
        return self._collector.spans


@pytest.fixture
async def traced(
    files: Files, upstream: FakeUpstream, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    files.usual(upstream.base)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    with start(PROXY, tmp_path / "log", ROOT=str(files.root)) as child:
        await asyncio.to_thread(child.wait_ready)
        yield Traced(child, collector)


async def test_a_call_is_one_span_below_the_clients(traced: Traced, upstream: FakeUpstream) -> None:
    answer = await chat(traced.port, headers={"traceparent": SAMPLED, "tracestate": "v=1", "x-request-id": "mine-1"})
    assert answer.status == 200
    (span,) = await traced.spans()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.name, span.kind) == ("chat gpt-real", Span.SPAN_KIND_CLIENT)
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 20e9
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-real",
        "gen_ai.request.stream": False,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
        "model_serving.endpoint": "ep",
        "model_serving.served_entity": "gpt",
        "model_serving.config_version": 3,
        "model_serving.request_id": "mine-1",
    }
    # The provider sees our span as its parent, and nothing else of the client's context.
    assert upstream.requests[0].header("traceparent") == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert upstream.requests[0].header("tracestate") is None


async def test_streams_and_errors_and_calls_without_a_parent(
    traced: Traced, upstream: FakeUpstream, collector: Collector
) -> None:
    upstream.scripts.append(whole(500, {"error": {"message": "answer-canary"}}))
    await chat(traced.port, messages=[{"role": "user", "content": "prompt-canary"}])
    await chat(traced.port, stream=True, headers={"traceparent": "00-nonsense"})
    await chat(traced.port, headers={"authorization": "Bearer token-canary"})
    failed, streamed, refused = await traced.spans()
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert attributes(failed)["error.type"] == "INTERNAL_ERROR"
    assert streamed.status.code != Status.STATUS_CODE_ERROR
    assert attributes(streamed)["gen_ai.request.stream"] is True
    assert attributes(streamed)["gen_ai.response.time_to_first_chunk"] >= 0
    assert attributes(refused)["error.type"] == "UNAUTHENTICATED"
    assert len({span.trace_id for span in (failed, streamed, refused)}) == 3
    assert not any(span.parent_span_id for span in (failed, streamed, refused))
    for canary in (b"canary", SECRET.encode(), TOKEN.encode(), b"ada"):
        assert canary not in collector.raw


async def test_a_parent_that_is_not_sampled_is_handed_on_and_sends_nothing(
    traced: Traced, upstream: FakeUpstream
) -> None:
    await chat(traced.port, headers={"traceparent": SAMPLED[:-2] + "00"})
    assert await traced.spans() == []
    handed_on = upstream.requests[0].header("traceparent")
    assert handed_on is not None and handed_on.startswith(f"00-{TRACE}-") and handed_on.endswith("-00")


async def test_a_collector_that_is_away_holds_up_neither_calls_nor_the_end(
    files: Files, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.usual(upstream.base)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with start(PROXY, tmp_path / "log", ROOT=str(files.root)) as child:
        await asyncio.to_thread(child.wait_ready)
        assert (await chat(child.port)).status == 200
        child.terminate()
        assert await asyncio.to_thread(child.wait, 15) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_without_tracing_no_context_reaches_the_provider(running: Running, upstream: FakeUpstream) -> None:
    await chat(running.port, headers={"traceparent": SAMPLED})
    assert upstream.requests[0].header("traceparent") is None


async def test_without_opentelemetry_calls_are_served_and_the_log_says_what_to_install(
    files: Files, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(tracing.importlib, "import_module", absent)
    files.usual(upstream.base)
    async with proxy(files, process=ProcessSettings(tracing=True)) as running:
        await until(lambda: running.service.state.runtime)
        assert (await chat(running.port)).status == 200
    assert "install model-serving[otel]" in caplog.text


@pytest.mark.parametrize(
    ("environ", "traced"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "MODEL_SERVING_TRACING": "off"}, False),
        ({"MODEL_SERVING_TRACING": "on"}, True),
    ],
    ids=["no endpoint", "an endpoint", "an endpoint for traces", "switched off", "switched on"],
)
def test_when_there_are_traces(environ: dict[str, str], traced: bool) -> None:
    assert ProcessSettings.from_environ(environ).tracing is traced
