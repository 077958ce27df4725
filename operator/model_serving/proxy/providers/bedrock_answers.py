"""Answers of Converse: content, reasons, usage. Pure; used by the dialect of Converse and by its streams.

Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from model_serving.proxy.errors import Unavailable
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
)
from model_serving.proxy.providers.base import understood
from model_serving.proxy.usage import Usage

FINISH_REASONS = {
    "end_turn": STOP,
    "stop_sequence": STOP,
    "tool_use": TOOL_CALLS,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "guardrail_intervened": CONTENT_FILTER,
    "content_filtered": CONTENT_FILTER,
}
MALFORMED = "malformed_"
"""How the reasons begin that tell of an answer which nobody can use."""


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """A part of an answer; fields that vendors add are left alone."""


class _ToolUse(_Struct):
    tool_use_id: str
    name: str
    input: Raw = Raw(b"{}")


class _ReasoningText(_Struct):
    text: str = ""
    signature: str | None = None


class _Reasoning(_Struct):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _Text(_Struct):
    text: str = ""


class _Cited(_Struct):
    content: list[_Text] = []


class _Block(_Struct):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Cited | None = None


class _Message(_Struct):
    content: list[_Block]


class _Output(_Struct):
    message: _Message


class TokenUsage(_Struct):
    """What was used. `input_tokens` are those that neither came from the cache nor went into it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _Answer(_Struct):
    output: _Output
    stop_reason: str
    usage: TokenUsage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def read_answer(body: bytes) -> tuple[Said, Usage | None]:
    """What the model said, and what that used. Unavailable for what cannot be understood or told."""
    answer = understood(_ANSWER, body)
    said = Said(finish_reason(answer.stop_reason), thoughts=[], order=[], calls=[])
    for block in answer.output.message.content:
        _add(said, block)
    return said, usage_of(answer.usage)


def finish_reason(reason: str) -> str:
    """Why the answer ends. Unavailable when the model did not bring a usable one about."""
    if reason.startswith(MALFORMED):
        raise Unavailable(f"the model's answer cannot be used: its stop reason is {reason[:64]}")
    return FINISH_REASONS.get(reason, STOP)


def usage_of(usage: TokenUsage | None) -> Usage | None:
    """Usage in our terms: cached tokens are part of the prompt's."""
    if usage is None:
        return None
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    prompt = usage.input_tokens + read + written
    return Usage(prompt, usage.output_tokens, cached_tokens=read, cache_written_tokens=written)


def untold() -> Unavailable:
    """Content that chat completions have no form for: it was not asked for, and is not left out in silence."""
    return Unavailable("the provider's answer holds content that chat completions cannot tell")


def _add(said: Said, block: _Block) -> None:
    if block.text is not None:
        add_text(said, block.text)
    elif block.tool_use is not None:
        call = block.tool_use
        said.calls.append(Called(call.tool_use_id, call.name, bytes(call.input).decode()))
    elif block.reasoning_content is not None:
        add_thought(said, _thought(block.reasoning_content))
    elif block.citations_content is not None:
        add_text(said, "".join(text.text for text in block.citations_content.content))
    else:
        raise untold()


def _thought(reasoning: _Reasoning) -> Thought:
    told = reasoning.reasoning_text
    return Thought(told.text, told.signature) if told is not None else Thought(data=reasoning.redacted_content or "")
