"""Anthropic's types: the anthropic package's parameters, messages and events; and replies made of them.

The package has no types for text completions any more. What is said of them here is what its version 0.49 had.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import pydantic
import typing_extensions as te
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import (
    Message,
    MessageCreateParams,
    MessageDeltaUsage,
    MetadataParam,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
    RawMessageStreamEvent,
)
from anthropic.types.shared import ErrorResponse

from tests.proxy.providers.vendors.typed import fits

SAMPLING = {"temperature": float, "top_p": float, "top_k": int}
"""Older models take them; the package's newest types name them no more."""
PIECE = 7
"""Characters of a delta in streams that are made here."""


class CompletionParams(te.TypedDict, total=False):
    """What a text completion takes."""

    model: te.Required[str]
    prompt: te.Required[str]
    max_tokens_to_sample: te.Required[int]
    metadata: MetadataParam
    stop_sequences: list[str]
    stream: bool
    temperature: float
    top_k: int
    top_p: float


class Completion(pydantic.BaseModel, extra="forbid"):
    """What a text completion answers, whole or as an event."""

    type: Literal["completion"]
    id: str
    completion: str
    model: str
    stop_reason: str | None


_EVENT: pydantic.TypeAdapter[RawMessageStreamEvent] = pydantic.TypeAdapter(RawMessageStreamEvent)


def accept_request(task: str, stream: bool, path: str, body: Any) -> None:
    """Path and body are the package's; a stream says so."""
    assert body.get("stream", False) is stream
    if task == "completions":
        assert path.endswith("/v1/complete")
        fits(CompletionParams, body)
        return
    assert path.endswith("/v1/messages")
    accept_message(body)


def accept_message(body: Any) -> None:
    """The body is the package's, but for the sampling of older models."""
    for name in SAMPLING.keys() & body.keys():
        fits(SAMPLING[name], body[name], f"$.{name}")
    fits(MessageCreateParams, {name: value for name, value in body.items() if name not in SAMPLING})


def accept_reply(task: str, body: Any) -> None:
    """The body has no field that the package does not know."""
    if task == "completions":
        Completion.model_validate(body, strict=True)
    else:
        _known(Message.model_validate(body, strict=True))


def accept_stream(task: str, raw: bytes) -> None:
    """Each event is one of the package's, which can put them together; a ping may come, an error may be the last."""
    snapshot, buffers = None, {}
    for name, data in _events(raw):
        assert name == data["type"]
        if name == "error":
            _known(ErrorResponse.model_validate(data, strict=True))
        elif task == "completions" and name != "ping":
            Completion.model_validate(data, strict=True)
        elif name != "ping":
            event = _EVENT.validate_python(data, strict=True)
            _known(event)
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)


def message_of(*content: Any, stop_reason: str = "end_turn", usage: Any = None, **more: Any) -> Message:
    """A message of the package's types."""
    counts = {"input_tokens": 12, "output_tokens": 34} | (usage or {})
    told = {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    said = {"content": list(content), "stop_reason": stop_reason, "stop_sequence": None, "usage": counts}
    return Message.model_validate(told | said | more, strict=True)


def text(words: str) -> Any:
    """A block of text."""
    return {"type": "text", "text": words}


def tool_use(id: str, name: str, **arguments: Any) -> Any:
    """A block that calls a tool."""
    return {"type": "tool_use", "id": id, "name": name, "input": arguments}


def wire(model: pydantic.BaseModel) -> Any:
    """A model as it is sent."""
    return model.model_dump(mode="json", exclude_unset=True)


def stream_of(message: Message) -> bytes:
    """The stream that says what `message` says, a ping amid it."""
    return b"".join(event_of(event) for event in _told(message))


def event_of(data: Any) -> bytes:
    """An event as it is sent."""
    return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def _told(message: Message) -> Iterator[Any]:
    usage = message.usage
    begun = usage.model_copy(update={"output_tokens": 1, "output_tokens_details": None})
    begun.__pydantic_fields_set__.discard("output_tokens_details")
    silent = message.model_copy(update={"content": [], "stop_reason": None, "stop_details": None, "usage": begun})
    yield wire(RawMessageStartEvent(type="message_start", message=silent))
    yield {"type": "ping"}
    for index, block in enumerate(wire(message)["content"]):
        yield from _block(index, block)
    delta = {"stop_reason": message.stop_reason, "stop_sequence": message.stop_sequence}
    if message.stop_details is not None:
        delta["stop_details"] = wire(message.stop_details)
    counts = {"output_tokens": usage.output_tokens}
    if usage.output_tokens_details is not None:
        counts["output_tokens_details"] = wire(usage.output_tokens_details)
    told = MessageDeltaUsage.model_validate(counts)
    yield wire(RawMessageDeltaEvent.model_validate({"type": "message_delta", "delta": delta, "usage": told}))
    yield wire(RawMessageStopEvent(type="message_stop"))


def _block(index: int, block: Any) -> Iterator[Any]:
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    start = block | {name: value for name, value in empty.items() if name in block}
    deltas = []
    match block["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "tool_use":
            arguments = json.dumps(block["input"]) if block["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *_pieces(arguments)]]
    yield _event({"type": "content_block_start", "index": index, "content_block": start})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta})
    yield _event({"type": "content_block_stop", "index": index})


def _event(data: Any) -> Any:
    return wire(_EVENT.validate_python(data, strict=True))


def _pieces(words: str) -> list[str]:
    return [words[at : at + PIECE] for at in range(0, len(words), PIECE)]


def _events(raw: bytes) -> Iterator[tuple[str, Any]]:
    events = raw.decode().split("\n\n")
    assert events.pop() == ""
    for event in events:
        name, data = event.split("\n")
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def _known(value: Any) -> None:
    if isinstance(value, pydantic.BaseModel):
        assert not value.model_extra, f"unknown: {sorted(value.model_extra or ())}"
        for name in type(value).model_fields:
            _known(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            _known(item)
