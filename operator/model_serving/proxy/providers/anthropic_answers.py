"""Anthropic's answers, whole, in the client's format; and what streams share with them. Pure.

Reference: https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from model_serving.proxy.providers.answers import (
    CONTENT_FILTER,
    LENGTH,
    STOP,
    TOOL_CALLS,
    Called,
    Said,
    Thought,
    add_text,
    add_thought,
    write_reply,
)
from model_serving.proxy.providers.base import Asked, Reply, understood
from model_serving.proxy.usage import Usage

FINISH_REASONS = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "pause_turn": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "tool_use": TOOL_CALLS,
    "refusal": CONTENT_FILTER,
}
"""A reason that is not known here is `stop`."""

_NO_INPUT = Raw(b"{}")


class StopDetails(msgspec.Struct, gc=False):
    """Why the model refused, in words; they may be missing."""

    explanation: str | None = None


class Details(msgspec.Struct, gc=False):
    """What the output's tokens were spent on."""

    thinking_tokens: int | None = None


class Counts(msgspec.Struct, gc=False):
    """Tokens. `input_tokens` are those that the cache has no part in; all counts are cumulative."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: Details | None = None


class Block(msgspec.Struct, gc=False):
    """A block of any type; the fields of the others are empty."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = _NO_INPUT


class _Message(msgspec.Struct, gc=False):
    id: str
    content: list[Block]
    model: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: Counts | None = None


_MESSAGE = msgspec.json.Decoder(_Message)


def read_answer(asked: Asked, body: bytes) -> Reply:
    """The answer to a chat call. Unavailable for one that is none."""
    message = understood(_MESSAGE, body)
    said = Said(finish_reason(message.stop_reason), thoughts=[], order=[], calls=[])
    for block in message.content:
        _add(said, block)
    if message.stop_details is not None:
        said.refusal = message.stop_details.explanation
    usage = None if message.usage is None else usage_of(message.usage)
    return write_reply(asked, [said], usage, id=message.id, model=message.model)


def finish_reason(stop_reason: str | None) -> str:
    """The client's word for the vendor's."""
    return FINISH_REASONS.get(stop_reason or "", STOP)


def usage_of(counts: Counts) -> Usage:
    """Usage as clients count it: what the cache has a part in belongs to the prompt."""
    read, written = counts.cache_read_input_tokens or 0, counts.cache_creation_input_tokens or 0
    details = counts.output_tokens_details
    return Usage(
        prompt_tokens=(counts.input_tokens or 0) + read + written,
        completion_tokens=counts.output_tokens or 0,
        cached_tokens=read,
        reasoning_tokens=(details.thinking_tokens or 0) if details is not None else 0,
        cache_written_tokens=written,
    )


def arguments_of(block: Block) -> str:
    """A tool call's arguments as JSON text; empty for none."""
    raw = bytes(block.input)
    return "" if raw in (b"null", b"{}") else raw.decode()


def thought_of(block: Block) -> Thought:
    """A thought, as far as the block has it."""
    if block.type == "redacted_thinking":
        return Thought(data=block.data)
    return Thought(block.thinking, block.signature or None)


def _add(said: Said, block: Block) -> None:
    match block.type:
        case "text":
            add_text(said, block.text)
        case "tool_use":
            said.calls.append(Called(block.id, block.name, arguments_of(block)))
        case "thinking" | "redacted_thinking":
            add_thought(said, thought_of(block))
