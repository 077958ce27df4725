"""Cohere's chat API: calls for chat and text completions as requests, whole answers as ours. Pure.

References: https://docs.cohere.com/reference/chat, https://docs.cohere.com/docs/reasoning,
https://docs.cohere.com/docs/structured-outputs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from model_serving.proxy.call import Call
from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.answers import Called, Said, Thought, write_reply
from model_serving.proxy.providers.base import Asked, Reply, understood
from model_serving.proxy.providers.chat import Chat, JsonObject, JsonSchema, read_chat
from model_serving.proxy.providers.cohere_answers import (
    NAME,
    Counted,
    Logprob,
    finish_reason,
    logprobs_object,
    usage_of,
)
from model_serving.proxy.providers.cohere_messages import Offer, Turn, tools_of, turns_of
from model_serving.proxy.providers.cohere_stream import CohereStream
from model_serving.proxy.providers.completions import Completion, read_completion
from model_serving.proxy.providers.events import TranslatedStream
from model_serving.proxy.providers.features import Features, cannot_express
from model_serving.proxy.providers.schemas import described_schema
from model_serving.proxy.sse import EVENT_STREAM, StreamTranslator

COMMON_FIELDS = frozenset(
    ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty", "presence_penalty",
     "safety_mode", "priority")
)  # fmt: skip
"""Fields of both tasks; the last two are the vendor's own, and go as they are."""

CHAT_FIELDS = COMMON_FIELDS | frozenset(
    ("max_completion_tokens", "logprobs", "tools", "tool_choice", "response_format", "reasoning_effort", "thinking",
     "documents", "citation_options")
)  # fmt: skip

CHAT_FEATURES = Features(
    fields=CHAT_FIELDS,
    parts=frozenset(("image data", "image url", "reasoning")),
    notes=(
        "a version at the end of the base URL, such as `https://api.cohere.ai/v1`, makes way for `/v2`, for all tasks",
        "`safety_mode`, `documents`, `citation_options` and `priority` are Cohere's own and go as they are; citations "
        "in answers are left out, the text that they are about is not",
        "`tool_choice`: a function's name when that is the only tool, which then must be called",
        "`strict` of tools is one switch for all: `strict_tools`",
        "text that a model says before tool calls is Cohere's `tool_plan`, there and back",
        "`response_format`: a schema is always held to; its `name` is left out; a `description` becomes the schema's",
        "`logprobs`: for pieces of text as Cohere cuts them, several tokens counting as one; no `top_logprobs`",
        "`reasoning_effort`: `none` and `high`; `thinking`: not `adaptive`",
        "`reasoning_content` and thoughts in Databricks' form go back as thoughts, without signatures, which only the "
        "vendor can read that made them; thoughts that nobody else can read are refused",
        "`annotations`, another vendor's `extra_content` and a tool message's `name` are left out of earlier turns",
        "a `refusal` of an earlier turn goes back as text; instructions and turns of the model that say nothing are "
        "left out",
        "`usage` counts the tokens that the model read and wrote (`tokens`), which are more than those billed",
    ),
)
COMPLETIONS_FEATURES = Features(
    fields=COMMON_FIELDS,
    notes=(
        "a completion is a chat: `prompt` is the message of a user, for Cohere has retired its API for completions",
        "thoughts of models that think are left out of the answer",
    ),
)


class _Format(msgspec.Struct, gc=False, omit_defaults=True):
    type: str
    json_schema: Raw | None = None


class _Thinking(msgspec.Struct, gc=False, omit_defaults=True):
    type: str
    token_budget: int | None = None


class _Request(msgspec.Struct, gc=False, omit_defaults=True):
    model: str
    stream: bool
    messages: list[Turn]
    tools: list[Offer] | None = None
    strict_tools: bool | None = None
    tool_choice: str | None = None
    response_format: _Format | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: int | float | None = None
    p: int | float | None = None
    k: int | None = None
    seed: int | None = None
    frequency_penalty: int | float | None = None
    presence_penalty: int | float | None = None
    logprobs: bool = False
    thinking: _Thinking | None = None
    documents: Raw | None = None
    citation_options: Raw | None = None
    safety_mode: Raw | None = None
    priority: Raw | None = None


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    id: str
    function: _Function


class _Message(msgspec.Struct, gc=False):
    content: list[_Part] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None


class _Answer(msgspec.Struct, gc=False):
    message: _Message
    id: str = ""
    finish_reason: str | None = None
    usage: Counted | None = None
    logprobs: list[Logprob] | None = None


_encode = msgspec.json.Encoder().encode
_ANSWER = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class CohereChat:
    """Chat."""

    model: str

    stream_type = EVENT_STREAM
    features = CHAT_FEATURES

    def request(self, call: Call) -> list[bytes]:
        """One body."""
        chat = read_chat(call, self.features, NAME)
        request = _request(self.model, call.stream, turns_of(chat.messages), chat)
        tools = tools_of(chat)
        request.tools, request.strict_tools, request.tool_choice = tools.offers, tools.strict, tools.choice
        request.response_format = _format(chat)
        request.logprobs = chat.logprobs
        request.thinking = _thinking(chat)
        return [_encode(request)]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """Its one choice. ProviderError where the model failed."""
        answer = understood(_ANSWER, bodies[0])
        return write_reply(asked, [_said(answer)], usage_of(answer.usage), id=answer.id)

    def stream(self, asked: Asked) -> StreamTranslator:
        """Events, each with a name."""
        return TranslatedStream(CohereStream(asked))


@dataclass(frozen=True, slots=True)
class CohereCompletions(CohereChat):
    """Text completions, as chats of one message."""

    features = COMPLETIONS_FEATURES

    def request(self, call: Call) -> list[bytes]:
        """One body."""
        completion = read_completion(call, self.features, NAME)
        return [_encode(_request(self.model, call.stream, [Turn("user", completion.prompt)], completion))]


def _request(model: str, stream: bool, turns: list[Turn], asked: Chat | Completion) -> _Request:
    """What both tasks ask for."""
    request = _Request(
        model,
        stream,
        turns,
        max_tokens=asked.max_tokens,
        stop_sequences=asked.stop or None,
        temperature=asked.temperature,
        p=asked.top_p,
        k=asked.top_k,
        seed=asked.seed,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
    )
    for name, raw in asked.other.items():
        setattr(request, name, raw)
    return request


def _format(chat: Chat) -> _Format | None:
    match chat.response_format:
        case JsonObject():
            return _Format("json_object")
        case JsonSchema(json_schema=told):
            return _Format("json_object", described_schema(told, NAME))
    return None


def _thinking(chat: Chat) -> _Thinking | None:
    effort, asked = chat.reasoning_effort, chat.thinking
    if effort is not None and asked is not None:
        raise InvalidParameter("reasoning_effort: send it or thinking, not both", parameter="reasoning_effort")
    if effort is not None:
        if effort not in ("none", "high"):
            raise cannot_express("reasoning_effort", NAME, "send none, high, or thinking with a budget")
        return _Thinking("disabled" if effort == "none" else "enabled")
    if asked is None:
        return None
    if asked.type == "adaptive":
        raise cannot_express("thinking.type", NAME, "send enabled or disabled")
    return _Thinking(asked.type, asked.budget_tokens)


def _said(answer: _Answer) -> Said:
    reason = finish_reason(answer.finish_reason)
    message = answer.message
    parts = message.content or ()
    return Said(
        reason,
        text=(message.tool_plan or "") + "".join(part.text for part in parts if part.text),
        thoughts=[Thought(part.thinking) for part in parts if part.thinking],
        calls=[Called(call.id, call.function.name, call.function.arguments or "") for call in message.tool_calls or ()],
        logprobs=logprobs_object(answer.logprobs or ()),
    )
