"""The record of one call: who called what, how it ended, what it used and how long it took. Never any content.

Each record is one line of the access log, which is the usage record too: one line, not two. `journal.py` makes them,
`access_log.py` writes them; `local/usage_store.py` reads them back, on this machine or from a cluster's logs.
"""

from __future__ import annotations

from typing import Final

import msgspec

from model_serving.proxy.course import Course
from model_serving.proxy.errors import code_of

KIND: Final = "call"
NAME_LENGTH: Final = 256
"""Characters of names that others chose."""
CONTEXT_BYTES: Final = 2048
_NO_TEXT: Final = b""
_decode_text = msgspec.json.Decoder(str).decode
_decode_context = msgspec.json.Decoder(dict[str, str]).decode


class UsageRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag=KIND):
    """One call. What is empty is left out; times in milliseconds."""

    ts: str
    """When it ended, UTC."""
    id: str
    """The answer's `x-request-id`."""
    status: int
    """Of the answer; of a broken stream that of its error; 499 when the client left."""
    ms: float
    """How long it took."""
    endpoint: str = ""
    config_version: int = 0
    entity: str = ""
    provider: str = ""
    model: str = ""
    """The model as the provider calls it."""
    task: str = ""
    principal: str = ""
    error_code: str = ""
    stream: bool = False
    ttft_ms: float = 0.0
    """Of a stream: until its first byte came."""
    input_tokens: int | None = None
    """As the provider counted them; absent when it was silent."""
    output_tokens: int | None = None
    cached_tokens: int = 0
    """Part of the input."""
    reasoning_tokens: int = 0
    """Part of the output."""
    bytes_in: int = 0
    bytes_out: int = 0
    user_agent: str = ""
    client_request_id: str = ""
    """The client's own, from the body."""
    usage_context: dict[str, str] = {}
    """The client's own, from the body: what to book the call on."""
    process: str = ""
    """`router` for a call that reached no proxy."""


def record_of(course: Course, ts: str, now: float) -> UsageRecord:
    """The record of a call that has ended at `now` (the loop's clock), `ts` as text."""
    runtime, principal, call, target, usage = course.runtime, course.principal, course.call, course.target, course.usage
    status, began = course.status, course.began
    upstream = target.target if target is not None else None
    return UsageRecord(
        ts,
        course.id.decode("latin-1"),
        status,
        int((now - began) * 1e6) / 1000,
        runtime.config.endpoint if runtime is not None else "",
        runtime.config.config_version if runtime is not None else 0,
        upstream.entity if upstream is not None else "",
        upstream.provider if upstream is not None else "",
        upstream.model if upstream is not None else "",
        runtime.task if runtime is not None else "",
        principal.name[:NAME_LENGTH] if principal is not None else "",
        course.error_code or ("" if status == 200 else code_of(status)),
        call is not None and call.stream,
        int((course.first_byte - began) * 1e6) / 1000 if course.pieces else 0.0,
        usage.prompt_tokens if usage is not None else None,
        usage.completion_tokens if usage is not None else None,
        usage.cached_tokens if usage is not None else 0,
        usage.reasoning_tokens if usage is not None else 0,
        course.bytes_in,
        course.bytes_out,
        course.request.headers.get(b"user-agent", _NO_TEXT)[:NAME_LENGTH].decode("latin-1"),
    )
