"""Complete answers in OpenAI's format: chat and text completions. Written by all dialects that translate. Pure.

Thoughts: where the call asked with Databricks' `thinking`, `content` is Databricks' list (`reasoning`, then `text`), so
that signatures come back with the next turn; else they are `reasoning_content` beside a plain `content`.

References: https://platform.openai.com/docs/api-reference/chat/object, Databricks' chat completion response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.call import COMPLETIONS
from model_serving.proxy.providers.base import Asked, Reply
from model_serving.proxy.usage import Usage

STOP, LENGTH, TOOL_CALLS, CONTENT_FILTER = "stop", "length", "tool_calls", "content_filter"
"""The reasons why an answer ends."""


class Called(msgspec.Struct, gc=False):
    """A function that the model calls; `arguments` is JSON text, `extra_content` as in `chat.ToolCall`."""

    id: str
    name: str
    arguments: str = ""
    extra_content: Raw | None = None


class Thought(msgspec.Struct, gc=False):
    """A thought. `data` is one that only the vendor can read, in place of text. `after`: how many of the choice's
    calls stand before it, where the vendor wants it back in its place."""

    text: str = ""
    signature: str | None = None
    data: str | None = None
    after: int = 0


class Said(msgspec.Struct, gc=False):
    """One choice of an answer, whichever vendor it came from. `refusal` stands in place of text. `order`: thoughts and
    text as they followed each other, where the vendor wants them back so; empty: the thoughts come first."""

    finish_reason: str
    text: str = ""
    thoughts: list[Thought] = []
    order: list[Thought | str] = []
    calls: list[Called] = []
    refusal: str | None = None
    logprobs: Raw | None = None


def write_reply(asked: Asked, said: Sequence[Said], usage: Usage | None, *, id: str = "", model: str = "") -> Reply:
    """The answer to a chat or completions call. `id` and `model`: the vendor's, where it tells them."""
    completions = asked.call.task == COMPLETIONS
    choices = [_text_choice(n, s) if completions else _choice(n, s, asked) for n, s in enumerate(said)]
    answer = _Answer(
        id=id or asked.id,
        object="text_completion" if completions else "chat.completion",
        created=asked.created,
        model=model or asked.model,
        choices=choices,
        usage=UNSET if usage is None else usage_object(usage),
    )
    return Reply(_encode(answer), usage)


def add_text(said: Said, text: str) -> None:
    """Text follows."""
    said.text += text
    if said.order and isinstance(said.order[-1], str):
        said.order[-1] += text
    else:
        said.order.append(text)


def add_thought(said: Said, thought: Thought) -> None:
    """A thought follows, in its place."""
    thought.after = len(said.calls)
    said.thoughts.append(thought)
    said.order.append(thought)


def in_parts(asked: Asked) -> bool:
    """Whether thoughts belong into `content`, in Databricks' form."""
    raw = asked.call.fields.get("thinking")
    return raw is not None and bytes(raw) != b"null"


def usage_object(usage: Usage) -> UsageObject:
    """Usage as clients read it."""
    return UsageObject(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details={"cached_tokens": usage.cached_tokens} if usage.cached_tokens else UNSET,
        completion_tokens_details={"reasoning_tokens": usage.reasoning_tokens} if usage.reasoning_tokens else UNSET,
        cache_read_input_tokens=usage.cached_tokens or UNSET,
        cache_creation_input_tokens=usage.cache_written_tokens or UNSET,
    )


class UsageObject(msgspec.Struct, omit_defaults=True, gc=False):
    """`usage` of an answer; the last two fields are Databricks'."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | UnsetType = UNSET
    completion_tokens_details: dict[str, int] | UnsetType = UNSET
    cache_read_input_tokens: int | UnsetType = UNSET
    cache_creation_input_tokens: int | UnsetType = UNSET


class Function(msgspec.Struct, gc=False):
    """Name and arguments of a tool call."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, gc=False):
    """A tool call of an answer."""

    id: str
    type: str
    function: Function
    extra_content: Raw | UnsetType = UNSET


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[dict[str, Any]] | None
    refusal: str | None
    tool_calls: list[ToolCall] | UnsetType
    reasoning_content: str | UnsetType


class _Choice(msgspec.Struct, gc=False):
    index: int
    message: _Message
    logprobs: Raw | None
    finish_reason: str


class _TextChoice(msgspec.Struct, gc=False):
    index: int
    text: str
    logprobs: Raw | None
    finish_reason: str


class _Answer(msgspec.Struct, gc=False):
    id: str
    object: str
    created: int
    model: str
    choices: list[Any]
    usage: UsageObject | UnsetType


_encode = msgspec.json.Encoder().encode


def _choice(index: int, said: Said, asked: Asked) -> _Choice:
    parts = in_parts(asked) and bool(said.thoughts)
    content: str | list[dict[str, Any]] | None = said.text or None
    if parts:
        content = [_part(piece) for piece in said.order or [*said.thoughts, said.text] if piece]
    elif content is None and not said.calls and said.refusal is None:
        content = ""
    thoughts = "" if parts else "".join(thought.text for thought in said.thoughts)
    message = _Message(
        role="assistant",
        content=content,
        refusal=said.refusal,
        tool_calls=[_tool_call(call) for call in said.calls] or UNSET,
        reasoning_content=thoughts or UNSET,
    )
    return _Choice(index, message, said.logprobs, said.finish_reason)


def reasoning_part(thought: Thought) -> dict[str, Any]:
    """A thought in Databricks' form, with `after_tool_calls` where it follows some."""
    if thought.data is not None:
        summary = {"type": "summary_encrypted_text", "data": thought.data}
    else:
        summary = {"type": "summary_text", "text": thought.text}
        if thought.signature is not None:
            summary["signature"] = thought.signature
    part: dict[str, Any] = {"type": "reasoning", "summary": [summary]}
    return part | {"after_tool_calls": thought.after} if thought.after else part


def _part(piece: Thought | str) -> dict[str, Any]:
    return {"type": "text", "text": piece} if isinstance(piece, str) else reasoning_part(piece)


def _tool_call(call: Called) -> ToolCall:
    extra = UNSET if call.extra_content is None else call.extra_content
    return ToolCall(call.id, "function", Function(call.name, call.arguments or "{}"), extra)


def _text_choice(index: int, said: Said) -> _TextChoice:
    return _TextChoice(index, said.text, said.logprobs, said.finish_reason)
