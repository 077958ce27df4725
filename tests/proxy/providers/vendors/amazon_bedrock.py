"""Bedrock's types: botocore's model of the service, the cohere package for its embeddings, AWS' page for Titan's.

Bodies are held against the shapes, then written anew by botocore: what it writes must be what we send. Streams are
cut by botocore's own buffer. The service model knows InvokeModel's bodies as bytes only; those of Titan are nowhere
but in https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html.
"""

from __future__ import annotations

import base64
import json
import struct
import typing
from functools import cache
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import botocore.session
import cohere
from botocore.eventstream import EventStreamBuffer
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from tests.proxy.providers.vendors.typed import fits

TITAN = {"inputText": str, "dimensions": int, "normalize": bool, "embeddingTypes": list}
TITAN_REPLY = {"embedding": list, "inputTextTokenCount": int, "embeddingsByType": dict}
ENDS = {"chat": "/converse", "completions": "/converse", "embeddings": "/invoke"}


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """botocore sends just this body to just this path."""
    end = ENDS[task] + ("-stream" if stream else "")
    assert path.endswith(end), path
    model = unquote(path.removesuffix(end).rpartition("/model/")[2])
    if task == "embeddings":
        operation = _service().operation_model("InvokeModel")
        params = {"modelId": model, "body": json.dumps(body).encode()}
        _embeds(body)
    else:
        operation = _service().operation_model("ConverseStream" if stream else "Converse")
        params = {"modelId": model, **_native(body, operation.input_shape)}
    _valid(params, operation.input_shape)
    written = _serialized(params, operation)
    assert path.endswith(written["url_path"]), written["url_path"]
    assert json.loads(written["body"]) == body


def accept_reply(task: str, body: Any) -> None:
    """The body is the operation's output."""
    if task != "embeddings":
        shape = _service().operation_model("Converse").output_shape
        _valid(_native(body, shape), shape)
    elif "embedding" in body:
        fits_fields(TITAN_REPLY, body)
        assert "embedding" in body and "inputTextTokenCount" in body
    else:
        known = cohere.EmbedByTypeResponse if isinstance(body["embeddings"], dict) else cohere.EmbedFloatsResponse
        assert not known.model_validate(body).model_extra.keys() - {"response_type"}


def accept_stream(task: str, raw: bytes) -> None:
    """Frames as botocore reads them, each an event or an exception of the service."""
    assert task != "embeddings"
    shape = _service().operation_model("ConverseStream").output_shape.members["stream"]
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    size = 0
    for message in buffer:
        size += message.prelude.total_length
        headers = message.headers
        kind = headers[f":{headers[':message-type']}-type"]
        payload = json.loads(message.payload)
        payload.pop("p", None)  # filler, so that lengths tell nothing: no member of any shape
        _valid(_native(payload, shape.members[kind]), shape.members[kind])
    assert size == len(raw)


def frame(kind: str, payload: Any, message_type: str = "event") -> bytes:
    """One frame of a stream."""
    headers = {f":{message_type}-type": kind, ":content-type": "application/json", ":message-type": message_type}
    return framed(headers, json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode())


def framed(headers: dict[str, str], payload: bytes) -> bytes:
    """Any frame whose headers are text."""
    head = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    return framed_bytes(head, payload)


def framed_bytes(head: bytes, payload: bytes) -> bytes:
    """Any frame."""
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", crc32(prelude)) + head + payload
    return message + struct.pack(">I", crc32(message))


@cache
def _service() -> ServiceModel:
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def _valid(value: Any, shape: Shape) -> None:
    """The validator's word: types, required and unknown members, one member of a union; and the names of enums."""
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), report.generate_report()
    _enums(value, shape, shape.name)


def _enums(value: Any, shape: Shape, path: str) -> None:
    if shape.type_name == "structure" and not shape.is_document_type:
        for name, inner in value.items():
            _enums(inner, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for number, inner in enumerate(value):
            _enums(inner, shape.member, f"{path}[{number}]")
    elif getattr(shape, "enum", None):
        assert value in shape.enum, f"{path}: {value!r} is none of {shape.enum}"


def _native(value: Any, shape: Shape) -> Any:
    """JSON as botocore's callers have it: bytes in place of base64. What does not fit is left to the validator."""
    if shape.type_name == "blob" and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if shape.type_name == "list" and isinstance(value, list):
        return [_native(item, shape.member) for item in value]
    if shape.type_name == "structure" and not shape.is_document_type and isinstance(value, dict):
        return {
            name: _native(item, shape.members[name]) if name in shape.members else item for name, item in value.items()
        }
    return value


def _serialized(params: dict[str, Any], operation: OperationModel) -> dict[str, Any]:
    serialized: dict[str, Any] = create_serializer("rest-json", include_validation=False).serialize_to_request(
        params, operation
    )
    return serialized


def _embeds(body: Any) -> None:
    """Titan's fields, or parameters of Cohere's embedding."""
    if "inputText" in body:
        fits_fields(TITAN, body)
        return
    hints = _cohere_parameters()
    assert body.keys() <= hints.keys() and {"texts", "input_type"} <= body.keys(), body
    assert 1 <= len(body["texts"]) <= 96
    for name, value in body.items():
        fits(hints[name], value, f"$.{name}")


@cache
def _cohere_parameters() -> dict[str, Any]:
    return typing.get_type_hints(cohere.ClientV2.embed)


def fits_fields(fields: dict[str, type], body: Any) -> None:
    """Each field is known, and of its type."""
    for name, value in body.items():
        assert name in fields, f"unknown {name}"
        assert type(value) is fields[name], f"{name}: {value!r}"
