"""Traces by OpenTelemetry: one span per call, with the names of its GenAI conventions. Loaded by `tracing.py` alone.

The SDK reads its own OTEL_ variables: where to send, what to sample, what the service is called. Spans are sent by its
thread, in batches; what it cannot get rid of in time is dropped. A span tells neither content nor who called: the
access log does, found by the request id that both hold.
"""

from __future__ import annotations

import threading
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from model_serving import __version__
from model_serving.proxy.course import Course, Trace
from model_serving.proxy.errors import code_of

OPERATIONS: Final = {"llm/v1/chat": "chat", "llm/v1/completions": "text_completion", "llm/v1/embeddings": "embeddings"}
PROVIDERS: Final = {
    "amazon-bedrock": "aws.bedrock",
    "google-cloud-vertex-ai": "gcp.vertex_ai",
    "databricks-model-serving": "databricks",
}
"""The convention's names where they differ from Databricks'."""
CLOSE_SECONDS = 3.0
_UNKNOWN = "unknown_service"
_CONTEXT = TraceContextTextMapPropagator()


class OtelTracer:
    """Makes the spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("model-serving", __version__)

    def began(self, course: Course) -> None:
        """Starts the span, below the client's where its `traceparent` says so; the provider sees ours."""
        headers = course.request.headers
        parent = None
        if b"traceparent" in headers:
            carrier = {name: headers.get(name.encode(), b"").decode("latin-1") for name in _CONTEXT.fields}
            parent = _CONTEXT.extract(carrier)
        span = self._tracer.start_span("call", context=parent, kind=SpanKind.CLIENT)
        own = span.get_span_context()
        head = b"traceparent: 00-%032x-%016x-%02x\r\n" % (own.trace_id, own.span_id, own.trace_flags)
        course.trace = Trace(head, span)

    def ended(self, course: Course, now: float) -> None:
        """Ends the span."""
        if course.trace is None or not isinstance(span := course.trace.span, Span) or not span.is_recording():
            return
        model = course.target.target.model if course.target is not None else ""
        span.update_name(f"{_operation(course)} {model}".rstrip())
        span.set_attributes(_attributes(course))
        if course.status >= 400:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Sends what is left, for as long as the end of a process may take."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)


def open_otel() -> OtelTracer:
    """The tracer as the environment sets it up."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, _UNKNOWN)).startswith(_UNKNOWN):
        resource = resource.merge(Resource({SERVICE_NAME: "model-serving"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTracer(provider)


def _operation(course: Course) -> str:
    return OPERATIONS[course.runtime.task] if course.runtime is not None else "call"


def _attributes(course: Course) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "gen_ai.operation.name": _operation(course),
        "http.response.status_code": course.status,
        "model_serving.request_id": course.id.decode("latin-1"),
    }
    if course.status >= 400:
        found["error.type"] = course.error_code or code_of(course.status)
    if course.runtime is not None:
        found["model_serving.endpoint"] = course.runtime.endpoint
        found["model_serving.config_version"] = course.runtime.config.config_version
    if course.target is not None:
        target, origin = course.target.target, course.target.whole.origin
        azure = target.settings.get("openai_api_type", "").startswith("azure")
        named = PROVIDERS.get(target.provider, target.provider)
        found["gen_ai.provider.name"] = "azure.ai.openai" if azure else named
        found["gen_ai.request.model"] = target.model
        found["model_serving.served_entity"] = target.entity
        found["server.address"], found["server.port"] = origin.host, origin.port
    if course.usage is not None:
        found["gen_ai.usage.input_tokens"] = course.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = course.usage.completion_tokens
        found["gen_ai.usage.cache_read.input_tokens"] = course.usage.cached_tokens
        found["gen_ai.usage.reasoning.output_tokens"] = course.usage.reasoning_tokens
    if course.call is not None:
        found["gen_ai.request.stream"] = course.call.stream
    if course.pieces:
        found["gen_ai.response.time_to_first_chunk"] = course.first_byte - course.began
    return found
