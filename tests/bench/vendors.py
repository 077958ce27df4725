"""Vendors for the benchmark: how a proxy is pointed at one, and what the mock answers in that vendor's format.

All say what OpenAI's mock says: the same text, the same hundred pieces of a stream. Read by `translation.py`."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_serving.proxy_config import CredentialFile, Layout, Target
from tests.bench.workload import MODEL

PIECES = 100
TEXT = (
    "The capital of France is Paris. It lies on the river Seine in the north of the country and has been the seat of "
    'government for most of the time since the Middle Ages. "Paris" is named after the Parisii.'
)
_HEADERS = (
    "date: Sun, 22 Nov 2026 14:00:00 GMT\r\nvia: 1.1 frontend\r\nserver: vendor\r\n"
    "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-request-id: req_5d1f0c0e7a6b\r\n"
)
_SSE = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor. `settings` are made from the mock's address, `credentials` are what its files hold; empty: the file
    of a service account."""

    name: str
    provider: str
    settings: Callable[[str], dict[str, str]]
    credentials: dict[str, str]
    whole: Any
    pieces: Sequence[bytes]
    model: str = MODEL
    stream_type: str = _SSE

    def target(self, origin: str) -> Target:
        """The served entity that calls it at `origin`."""
        files = {name: CredentialFile("vendor", name) for name in self.credentials}
        return Target("model", self.provider, "llm/v1/chat", self.model, 100, self.settings(origin), files)

    def write_credentials(self, root: Path, account: str) -> None:
        """Its keys, where a proxy looks for them; `account` is the file of a service account, for Google."""
        for name, value in self.credentials.items():
            path = Layout(root).credential(CredentialFile("vendor", name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value or account)

    def write_answers(self, folder: Path) -> None:
        """What the mock sends, as `mock.c` reads it."""
        body = json.dumps(self.whole, separators=(",", ":")).encode()
        (folder / "whole").write_bytes(_head("application/json", f"content-length: {len(body)}") + body)
        (folder / "head").write_bytes(_head(self.stream_type, "transfer-encoding: chunked"))
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.pieces]
        chunks[-1] += b"0\r\n\r\n"
        (folder / "events").write_bytes(b"".join(b"%010d%b" % (len(chunk), chunk) for chunk in chunks))


def _head(kind: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{_HEADERS}{framing}\r\n\r\n".encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _named(kind: str, value: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _json({"type": kind} | value))


def _anthropic() -> Vendor:
    usage = {"input_tokens": 213, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 47}
    message = {"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": MODEL,
               "stop_sequence": None}  # fmt: skip
    pieces = [
        _named("message_start", {"message": message | {"content": [], "stop_reason": None, "usage": usage}}),
        _named("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        *(
            _named("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": f" tok{number}"}})
            for number in range(PIECES)
        ),
        _named("content_block_stop", {"index": 0}),
        _named("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}),
        _named("message_stop", {}),
    ]
    whole = message | {"content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "usage": usage}
    return Vendor(
        "Anthropic", "anthropic", lambda at: {"anthropic_api_base": at},
        {"anthropic_api_key": "sk-test-vendor"}, whole, pieces,
    )  # fmt: skip


def _cohere() -> Vendor:
    usage = {"billed_units": {"input_tokens": 213, "output_tokens": 47},
             "tokens": {"input_tokens": 213, "output_tokens": 47}}  # fmt: skip
    id = "c14c80c3-18eb-4519-9460-6c92edd8cfb4"
    pieces = [
        _named("message-start", {"id": id, "delta": {"message": {"role": "assistant", "content": []}}}),
        _named("content-start", {"index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
        *(
            _named("content-delta", {"index": 0, "delta": {"message": {"content": {"text": f" tok{number}"}}}})
            for number in range(PIECES)
        ),
        _named("content-end", {"index": 0}),
        _named("message-end", {"delta": {"finish_reason": "COMPLETE", "usage": usage}}),
    ]
    message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
    whole = {"id": id, "finish_reason": "COMPLETE", "message": message, "usage": usage}
    return Vendor(
        "Cohere", "cohere", lambda at: {"cohere_api_base": at}, {"cohere_api_key": "test-vendor"}, whole, pieces
    )


def _gemini() -> Vendor:
    usage = {"promptTokenCount": 213, "candidatesTokenCount": 47, "totalTokenCount": 260}

    def answer(text: str, end: dict[str, Any], count: bool) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": text}]}
        told = {"candidates": [{"content": content} | end], "modelVersion": "gemini", "responseId": "f9wZaL"}
        return told | ({"usageMetadata": usage} if count else {})

    end = {"finishReason": "STOP"}
    pieces = [b"data: %b\r\n\r\n" % _json(answer(f" tok{number}", {}, False)) for number in range(PIECES - 1)]
    pieces.append(b"data: %b\r\n\r\n" % _json(answer(f" tok{PIECES - 1}", end, True)))
    return Vendor(
        "Gemini", "google-cloud-vertex-ai",
        lambda at: {"vertex_api_base": at, "project_id": "bench", "region": "europe-west4"},
        {"private_key": ""}, answer(TEXT, end, True), pieces, model="gemini-2.5-flash",
    )  # fmt: skip


def _bedrock() -> Vendor:
    usage = {"inputTokens": 213, "outputTokens": 47, "totalTokens": 260}
    pad = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"  # real events are filled up with a field of this name
    pieces = [
        _frame("messageStart", {"role": "assistant", "p": pad}),
        *(
            _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": f" tok{number}"}, "p": pad})
            for number in range(PIECES)
        ),
        _frame("contentBlockStop", {"contentBlockIndex": 0, "p": pad}),
        _frame("messageStop", {"stopReason": "end_turn", "p": pad}),
        _frame("metadata", {"usage": usage, "metrics": {"latencyMs": 551}, "p": pad}),
    ]
    message = {"role": "assistant", "content": [{"text": TEXT}]}
    whole = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 551}}
    return Vendor(
        "Bedrock", "amazon-bedrock",
        lambda at: {"aws_endpoint_url": at, "aws_region": "eu-central-1", "bedrock_provider": "anthropic"},
        {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "test-vendor"}, whole, pieces,
        model="anthropic.claude-3-5-sonnet-20240620-v1:0", stream_type="application/vnd.amazon.eventstream",
    )  # fmt: skip


def _frame(kind: str, value: dict[str, Any]) -> bytes:
    """A message of AWS' event stream encoding."""
    told = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\7" + struct.pack("!H", len(text)) + text.encode()
        for name, text in told.items()
    )
    body = _json(value)
    start = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    message = start + struct.pack("!I", zlib.crc32(start)) + headers + body
    return message + struct.pack("!I", zlib.crc32(message))


VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in (_anthropic(), _cohere(), _bedrock(), _gemini())}
