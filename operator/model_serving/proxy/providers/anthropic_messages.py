"""Anthropic's Messages: a chat call as its request. Spoken by Anthropic itself and by Claude on Vertex AI. Pure.

Reference: https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.call import Call
from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.anthropic_answers import read_answer
from model_serving.proxy.providers.anthropic_blocks import Cache, Text, Turn, cache, conversation
from model_serving.proxy.providers.anthropic_stream import MessageEvents
from model_serving.proxy.providers.base import Asked, Reply
from model_serving.proxy.providers.chat import (
    Chat,
    Function,
    JsonObject,
    JsonSchema,
    NamedTool,
    given,
    read_chat,
    read_field,
)
from model_serving.proxy.providers.events import TranslatedStream
from model_serving.proxy.providers.features import Features, cannot_express
from model_serving.proxy.sse import EVENT_STREAM, StreamTranslator

MAX_TOKENS = 8192
"""The vendor demands `max_tokens`; this is what a client gets that sets none, as in MLflow's gateway."""

FEATURES = Features(
    fields=frozenset(
        (
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "response_format",
            "reasoning_effort",
            "thinking",
            "user",
            "safety_identifier",
        )
    ),
    parts=frozenset(
        ("image data", "image url", "file", "cache_control", "reasoning", "tool images", "thinking.display")
    ),
    harmless={"parallel_tool_calls": "without tools, or with `tool_choice` `none`, nothing can be called side by side"},
    notes=(
        f"`max_tokens` is {MAX_TOKENS} where the call sets none (the vendor demands a number), and as many more as "
        "`thinking` may use",
        "system and developer messages count from the start of the conversation, wherever they stand",
        "`temperature`, `top_p` and `top_k` are passed on as they are: the vendor's range of `temperature` is 0 to 1, "
        "and its newest models take none of the three",
        "`temperature` `1` and `top_p` `1` are left out: they change nothing, and newer models refuse the two together",
        "`stop` must not be blank",
        "`response_format`: `json_schema` alone, always strict; its `description` becomes the schema's, its `name` is "
        "left out",
        "`strict` `false` of a tool is left out, which means the same",
        "`tool_choice` `auto` and `none` are left out where the call has no `tools`",
        "`reasoning_effort`: `low`, `medium`, `high`, `xhigh` or `max`; `none` switches thoughts off",
        "`user` or `safety_identifier` becomes `metadata.user_id`, but not an e-mail address: the vendor refuses those",
        "ids of tool calls with characters that the vendor refuses, or too long, are replaced by a digest, in calls "
        "and results alike",
        "blank text beside other content is left out: the vendor refuses it",
        "`file`: PDF and plain text",
        "`detail` of an image is left out: the vendor scales images by rules of its own",
        "`reasoning_content` and unsigned thoughts of earlier turns are left out: the vendor takes back signed ones "
        "alone, as answers bring them when the call has `thinking`; `after_tool_calls` of a `reasoning` part tells how "
        "many of the turn's tool calls stand before it",
        "lists of thoughts that ChatDatabricks sends back as text are read as lists",
        "`annotations`, another vendor's `extra_content` and a tool message's `name` are left out of earlier turns",
    ),
)

DATA_ONLY = msgspec.structs.replace(FEATURES, parts=FEATURES.parts - {"image url"})
"""Where the vendor fetches nothing."""
_EFFORTS = "use none, low, medium, high, xhigh or max"
_EMAIL = re.compile(r"\S+@\S+\.\S+")


class _Tool(msgspec.Struct, gc=False, omit_defaults=True):
    name: str
    input_schema: Raw
    description: str | UnsetType = UNSET
    strict: bool | UnsetType = UNSET
    cache_control: Cache | UnsetType = UNSET


class _ToolChoice(msgspec.Struct, gc=False, omit_defaults=True):
    type: str
    name: str | UnsetType = UNSET
    disable_parallel_tool_use: bool | UnsetType = UNSET


class _Thinking(msgspec.Struct, gc=False, omit_defaults=True):
    type: str
    budget_tokens: int | UnsetType = UNSET
    display: str | UnsetType = UNSET


class _Format(msgspec.Struct, gc=False, tag_field="type", tag="json_schema"):
    schema: Raw | dict[str, Raw]


class _OutputConfig(msgspec.Struct, gc=False, omit_defaults=True):
    effort: str | UnsetType = UNSET
    format: _Format | UnsetType = UNSET


class Metadata(msgspec.Struct, gc=False):
    """Who asks."""

    user_id: str


class _Request(msgspec.Struct, gc=False, omit_defaults=True):
    messages: list[Turn]
    max_tokens: int
    model: str = ""
    anthropic_version: str = ""
    system: str | list[Text] = ""
    stream: bool = False
    temperature: int | float | UnsetType = UNSET
    top_p: int | float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    stop_sequences: list[str] = []
    tools: list[_Tool] = []
    tool_choice: _ToolChoice | UnsetType = UNSET
    thinking: _Thinking | UnsetType = UNSET
    output_config: _OutputConfig | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_STR = msgspec.json.Decoder(str)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_NO_PARAMETERS = Raw(b'{"type":"object"}')


@dataclass(frozen=True, slots=True)
class Messages:
    """`provider`: the name in refusals. `model`: empty where the path names it. `version`: `anthropic_version` of the
    body, where a header does not tell it. `urls`: images by URL are fetched."""

    provider: str
    model: str
    version: str = ""
    urls: bool = True

    stream_type = EVENT_STREAM

    @property
    def features(self) -> Features:
        """What the vendor's own API takes, or the same on Vertex AI."""
        return FEATURES if self.urls else DATA_ONLY

    def request(self, call: Call) -> list[bytes]:
        """The one request."""
        chat = read_chat(call, FEATURES, self.provider)
        system, turns = conversation(chat.messages, self.provider, urls=self.urls)
        request = _Request(
            messages=turns,
            max_tokens=_max_tokens(chat),
            model=self.model,
            anthropic_version=self.version,
            system=system,
            stream=call.stream,
            temperature=given(unless_one(chat.temperature)),
            top_p=given(unless_one(chat.top_p)),
            top_k=given(chat.top_k),
            stop_sequences=stop_sequences(chat.stop, self.provider),
            tools=[
                _Tool(
                    name=tool.function.name,
                    input_schema=_input_schema(tool.function, number),
                    description=given(tool.function.description),
                    strict=tool.function.strict or UNSET,
                    cache_control=cache(tool.cache_control),
                )
                for number, tool in enumerate(chat.tools)
            ],
            tool_choice=_tool_choice(chat),
            thinking=_thinking(chat, self.provider),
            output_config=_output_config(chat, self.provider),
            metadata=metadata(chat.user, chat.other),
        )
        return [_encode(request)]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The message."""
        return read_answer(asked, bodies[0])

    def stream(self, asked: Asked) -> StreamTranslator:
        """The message's events."""
        return TranslatedStream(MessageEvents(asked, self.provider))


def stop_sequences(stop: list[str], provider: str) -> list[str]:
    """The client's; the vendor refuses blank ones. InvalidParameter."""
    for number, sequence in enumerate(stop):
        if not sequence or sequence.isspace():
            raise cannot_express(f"stop[{number}]", provider, "a stop sequence must not be blank")
    return stop


def metadata(user: str | None, other: Mapping[str, Raw]) -> Metadata | UnsetType:
    """Who asks, by the newer field where there are both. InvalidParameter."""
    identifier = other.get("safety_identifier")
    if identifier is not None:
        user = read_field("safety_identifier", identifier, _STR)
    return UNSET if not user or _EMAIL.search(user) else Metadata(user)


def unless_one(value: float | None) -> float | None:
    """A temperature or `top_p`, unless it changes nothing: Anthropic's newer models refuse the two together."""
    return None if value == 1 else value


def _max_tokens(chat: Chat) -> int:
    """Thoughts count too: a default that their budget exceeds would be refused."""
    if chat.max_tokens is not None:
        return chat.max_tokens
    return MAX_TOKENS + ((chat.thinking.budget_tokens or 0) if chat.thinking is not None else 0)


def _input_schema(function: Function, number: int) -> Raw:
    raw = function.parameters
    if raw is None or bytes(raw) == b"{}":
        return _NO_PARAMETERS
    if bytes(raw)[:1] != b"{":
        field = f"tools[{number}].function.parameters"
        raise InvalidParameter(f"{field} must be a JSON schema: an object", parameter=field)
    return raw


def _tool_choice(chat: Chat) -> _ToolChoice | UnsetType:
    if not chat.tools:
        if chat.tool_choice not in (None, "auto", "none"):
            raise InvalidParameter("tool_choice needs tools: send them, or remove it", parameter="tool_choice")
        return UNSET
    single = UNSET if chat.parallel_tool_calls else True
    match chat.tool_choice:
        case NamedTool() as named:
            return _ToolChoice("tool", named.function.name, single)
        case "required":
            return _ToolChoice("any", disable_parallel_tool_use=single)
        case "none":
            return _ToolChoice("none")
        case None if single is UNSET:
            return UNSET
    return _ToolChoice("auto", disable_parallel_tool_use=single)


def check_effort(chat: Chat) -> None:
    """InvalidParameter where thoughts are switched on and off at once."""
    if chat.reasoning_effort == "none" and chat.thinking is not None and chat.thinking.type != "disabled":
        words = f"reasoning_effort none contradicts thinking {chat.thinking.type}: remove one of them"
        raise InvalidParameter(words, parameter="reasoning_effort")


def _thinking(chat: Chat, provider: str) -> _Thinking | UnsetType:
    check_effort(chat)
    thinking = chat.thinking
    if thinking is None:
        return _Thinking("disabled") if chat.reasoning_effort == "none" else UNSET
    field = "thinking.budget_tokens"
    if thinking.type != "enabled" and thinking.budget_tokens is not None:
        raise cannot_express(field, provider, f"remove it, or set thinking.type to enabled, not {thinking.type}")
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        raise InvalidParameter(f"{field} is missing: thinking of type enabled needs it", parameter=field)
    return _Thinking(thinking.type, given(thinking.budget_tokens), given(thinking.display))


def _output_config(chat: Chat, provider: str) -> _OutputConfig | UnsetType:
    if isinstance(chat.response_format, JsonObject):
        raise cannot_express("response_format", provider, "use json_schema")
    effort = None if chat.reasoning_effort == "none" else chat.reasoning_effort
    if effort == "minimal":
        raise cannot_express("reasoning_effort", provider, _EFFORTS)
    schema = chat.response_format if isinstance(chat.response_format, JsonSchema) else None
    if schema is None and effort is None:
        return UNSET
    return _OutputConfig(given(effort), UNSET if schema is None else _Format(_schema(schema, provider)))


def _schema(wanted: JsonSchema, provider: str) -> dict[str, Raw]:
    """The schema, with the description that stands beside it in OpenAI's API."""
    field = "response_format.json_schema"
    raw, description = wanted.json_schema.schema, wanted.json_schema.description
    if raw is None:
        raise InvalidParameter(f"{field}.schema is missing", parameter=f"{field}.schema")
    schema: dict[str, Raw] = read_field(f"{field}.schema", raw, _OBJECT)
    if description is None:
        return schema
    if "description" in schema:
        raise cannot_express(f"{field}.description", provider, "the schema has a description of its own")
    return {"description": Raw(_encode(description))} | schema
