"""Converse, Bedrock's API for chat with any model, and text completions through it. Pure; used by `bedrock.py`.

What Converse has no field for goes to the model itself, as `additionalModelRequestFields`, by the names of the
model's own API. A text completion is one message of the user.

References: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from model_serving.proxy.call import COMPLETIONS, Call
from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.answers import write_reply
from model_serving.proxy.providers.anthropic_messages import check_effort, unless_one
from model_serving.proxy.providers.base import Asked, Reply
from model_serving.proxy.providers.bedrock_answers import read_answer
from model_serving.proxy.providers.bedrock_frames import STREAM_TYPE, Frames
from model_serving.proxy.providers.bedrock_messages import Block, Conversation, cache_point
from model_serving.proxy.providers.bedrock_stream import ConverseTranslator
from model_serving.proxy.providers.chat import (
    Chat,
    FunctionTool,
    JsonObject,
    JsonSchema,
    NamedTool,
    read_chat,
    read_field,
)
from model_serving.proxy.providers.completions import Completion, read_completion
from model_serving.proxy.providers.events import TranslatedStream
from model_serving.proxy.providers.features import Features, cannot_express
from model_serving.proxy.sse import StreamTranslator

MODEL_FIELDS: Mapping[str, Mapping[str, str]] = {
    "anthropic": {"top_k": "top_k"},
    "cohere": {
        "top_k": "k",
        "seed": "seed",
        "frequency_penalty": "frequency_penalty",
        "presence_penalty": "presence_penalty",
    },
    "ai21labs": {"frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty"},
    "amazon": {"top_k": "topK"},
}
"""By maker of the model: our fields, and the names that the model itself has for them."""

_BASIC = frozenset({"max_tokens", "temperature", "top_p", "stop", "service_tier"})
_CHAT = _BASIC | {"max_completion_tokens", "tools", "tool_choice", "response_format"}
_OWN = {
    "anthropic": frozenset({"thinking", "reasoning_effort", "parallel_tool_calls"}),
    "amazon": frozenset({"reasoning_effort"}),
}
_PARTS = frozenset({"image data", "audio", "file", "cache_control", "reasoning", "tool images"})
_NOTES = (
    "system and developer messages go to `system`, wherever they stand",
    "`reasoning_content` and unsigned thoughts of earlier turns are left out: models take back signed ones alone, as "
    "answers bring them when the call has `thinking`",
    "lists of thoughts that ChatDatabricks sends back as text are read as lists",
    "`annotations`, another vendor's `extra_content` and a tool message's `name` are left out of earlier turns",
    "`detail` of an image is left out: models scale images by rules of their own",
    "`file`: PDF, CSV, Word, Excel, HTML, text and Markdown; the name is reduced to characters that Bedrock allows, "
    "and to one use",
    "`response_format`: `json_schema` alone, always strict",
    "where earlier turns hold tool calls and the call has no `tools`, Converse demands them all the same: the names "
    "are sent with schemas that allow any object, and as no longer available",
    "`strict` `false` of a tool is left out, which means the same",
    "ids of tool calls with characters that models refuse, or too long, are replaced by a digest, in calls and results "
    "alike",
    "blank text is left out: models refuse it",
    "`after_tool_calls` of a `reasoning` part tells how many of the turn's tool calls stand before it",
)
_HARMLESS = {"tools": "with `tool_choice` `none` the model is not told of them"}
_ALONE = {"parallel_tool_calls": "without tools, or with `tool_choice` `none`, nothing can be called side by side"}
_ONES = "`temperature` `1` and `top_p` `1` are left out: they change nothing, and newer models refuse the two together"
_NONE = "`tool_choice` `none` is refused where earlier turns hold tool calls: Converse has none, and demands tools"
_OWN_NOTES = {
    "anthropic": (
        "`parallel_tool_calls` `false`, and `tool_choice` `none` where earlier turns hold tool calls, go to the model "
        "as its own `tool_choice`",
        _ONES,
        "`reasoning_effort` is `outputConfig.effort`; `none` switches thoughts off",
    ),
    "cohere": (_NONE,),
    "ai21labs": (_NONE,),
    "amazon": (_NONE, "`reasoning_effort` is Nova's `reasoningConfig`; `none` switches thoughts off"),
}

CHAT_FEATURES = {
    maker: Features(
        _CHAT | names.keys() | _OWN.get(maker, frozenset()),
        _PARTS | ({"thinking.display"} if maker == "anthropic" else frozenset()),
        harmless=_HARMLESS | (_ALONE if maker == "anthropic" else {}),
        notes=_NOTES + _OWN_NOTES[maker],
    )
    for maker, names in MODEL_FIELDS.items()
}
COMPLETION_FEATURES = {
    maker: Features(
        _BASIC | names.keys(),
        notes=("`prompt` is sent as one message of the user", *([_ONES] if maker == "anthropic" else [])),
    )
    for maker, names in MODEL_FIELDS.items()
}

_ANY_OBJECT = Raw(b'{"type":"object"}')
_GONE = "No longer available."
_TEXT = msgspec.json.Decoder(str)


class Body(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """A request's body."""

    messages: list[dict[str, Any]]
    system: list[Block] = []
    inference_config: dict[str, Any] = {}
    tool_config: dict[str, Any] = {}
    additional_model_request_fields: dict[str, Any] = {}
    service_tier: dict[str, str] = {}
    output_config: dict[str, Any] = {}


_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Converse:
    """Chat or text completions; `maker` is the model's, one of `MODEL_FIELDS`."""

    provider: str
    maker: str
    completions: bool

    stream_type = STREAM_TYPE

    @property
    def features(self) -> Features:
        """What the maker's models take."""
        return (COMPLETION_FEATURES if self.completions else CHAT_FEATURES)[self.maker]

    def request(self, call: Call) -> list[bytes]:
        """The one request; whether it streams is told by its path."""
        if call.task == COMPLETIONS:
            completion = read_completion(call, self.features, self.provider)
            body = Body([{"role": "user", "content": [{"text": completion.prompt}]}])
            self._tune(body, completion)
        else:
            chat = read_chat(call, self.features, self.provider)
            conversation = Conversation(self.provider)
            conversation.read(chat.messages)
            body = Body(conversation.messages, conversation.system)
            self._tune(body, chat)
            self._offer(body, chat, list(conversation.called))
            self._reason(body, chat)
            self._shape(body, chat)
        return [_encode(body)]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The answer. Converse tells neither id nor model."""
        said, usage = read_answer(bodies[0])
        return write_reply(asked, [said], usage)

    def stream(self, asked: Asked) -> StreamTranslator:
        """The stream, out of binary frames."""
        return TranslatedStream(ConverseTranslator(asked, self.provider), Frames())

    def _tune(self, body: Body, asked: Chat | Completion) -> None:
        """What Converse has fields for, and what goes to the model by its own names."""
        claude = self.maker == "anthropic"
        told = {
            "maxTokens": asked.max_tokens,
            "temperature": unless_one(asked.temperature) if claude else asked.temperature,
            "topP": unless_one(asked.top_p) if claude else asked.top_p,
            "stopSequences": asked.stop or None,
        }
        body.inference_config = {name: value for name, value in told.items() if value is not None}
        own = {}
        for field, name in MODEL_FIELDS[self.maker].items():
            value = getattr(asked, field)
            if value is not None:
                own[name] = value
        if own:
            body.additional_model_request_fields = {"inferenceConfig": own} if self.maker == "amazon" else own
        tier = asked.other.get("service_tier")
        if tier is not None:
            body.service_tier = {"type": read_field("service_tier", tier, _TEXT)}

    def _offer(self, body: Body, chat: Chat, called: list[str]) -> None:
        """Tools and the choice among them. Converse has no `none`, and wants tools where earlier turns called some."""
        choice = chat.tool_choice
        none = choice == "none"
        if none and not called:
            return
        tools = [block for number, tool in enumerate(chat.tools) for block in _tool(tool, f"tools[{number}]")]
        if not tools and choice not in (None, "auto", "none"):
            raise InvalidParameter("tool_choice needs tools: send them, or remove it", parameter="tool_choice")
        tools = tools or [_tool_spec(name, _ANY_OBJECT, _GONE) for name in called]
        if not tools:
            return
        body.tool_config = {"tools": tools}
        if self.maker == "anthropic" and (none or not chat.parallel_tool_calls):
            own = {"tool_choice": _anthropic_choice(choice)}
            body.additional_model_request_fields = body.additional_model_request_fields | own
        elif none:
            raise cannot_express("tool_choice", self.provider, "do not send none when earlier turns hold tool calls")
        elif choice is not None and chat.tools:
            body.tool_config["toolChoice"] = _tool_choice(choice)

    def _reason(self, body: Body, chat: Chat) -> None:
        """How much the model thinks: Anthropic's own switch, Converse's effort, Nova's own switch."""
        check_effort(chat)
        own: dict[str, Any] = {}
        effort = chat.reasoning_effort
        if self.maker == "anthropic":
            if effort == "none":
                own["thinking"] = {"type": "disabled"}
            elif effort is not None:
                body.output_config = {"effort": effort}
            if chat.thinking is not None:
                own["thinking"] = {n: v for n, v in msgspec.structs.asdict(chat.thinking).items() if v is not None}
        elif effort is not None:
            off = {"type": "disabled"}
            on = {"type": "enabled", "maxReasoningEffort": effort}
            own["reasoningConfig"] = off if effort == "none" else on
        if own:
            body.additional_model_request_fields = body.additional_model_request_fields | own

    def _shape(self, body: Body, chat: Chat) -> None:
        """The form of the answer."""
        match chat.response_format:
            case JsonSchema(json_schema=asked):
                if asked.schema is None:
                    field = "response_format.json_schema.schema"
                    raise InvalidParameter(f"{field} is missing: send a JSON schema", parameter=field)
                told = {"schema": bytes(asked.schema).decode(), "name": asked.name}
                if asked.description is not None:
                    told["description"] = asked.description
                form = {"type": "json_schema", "structure": {"jsonSchema": told}}
                body.output_config = body.output_config | {"textFormat": form}
            case JsonObject():
                raise cannot_express("response_format", self.provider, "send a json_schema")


def _tool(tool: FunctionTool, field: str) -> list[Block]:
    function = tool.function
    schema = function.parameters
    if schema is None or bytes(schema) == b"{}":  # the vendor demands a type
        schema = _ANY_OBJECT
    elif bytes(schema)[:1] != b"{":
        path = f"{field}.function.parameters"
        raise InvalidParameter(f"{path} must be a JSON schema: an object", parameter=path)
    block = _tool_spec(function.name, schema)
    spec = block["toolSpec"]
    if function.description and not function.description.isspace():  # the vendor refuses an empty one
        spec["description"] = function.description
    if function.strict:  # false is what is so anyway, and not every model takes the word
        spec["strict"] = True
    return [block] if tool.cache_control is None else [block, cache_point(tool.cache_control)]


def _tool_spec(name: str, schema: Raw, description: str | None = None) -> Block:
    spec: Block = {"name": name, "inputSchema": {"json": schema}}
    return {"toolSpec": spec if description is None else {"description": description} | spec}


def _tool_choice(choice: str | NamedTool) -> Block:
    if isinstance(choice, NamedTool):
        return {"tool": {"name": choice.function.name}}
    return {"any" if choice == "required" else "auto": {}}


def _anthropic_choice(choice: str | NamedTool | None) -> Block:
    """The model's own choice among tools, which knows none and one at a time. It takes the place of Converse's."""
    if choice == "none":
        return {"type": "none"}
    one = {"disable_parallel_tool_use": True}
    if isinstance(choice, NamedTool):
        return {"type": "tool", "name": choice.function.name} | one
    return {"type": "any" if choice == "required" else "auto"} | one
