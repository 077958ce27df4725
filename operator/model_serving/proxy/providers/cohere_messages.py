"""The messages of a chat call as Cohere's API has them, and the tools that it may use. Pure. For `cohere_chat.py`.

What a model says before it calls tools is `tool_plan` here, and text to clients. Images by URL go as they are.

Reference: https://docs.cohere.com/reference/chat
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from model_serving.proxy.providers.chat import (
    Assistant,
    Chat,
    Developer,
    FunctionTool,
    ImagePart,
    Message,
    NamedTool,
    ReasoningPart,
    RefusalPart,
    System,
    TextPart,
    Tool,
    User,
    UserPart,
)
from model_serving.proxy.providers.cohere_answers import NAME
from model_serving.proxy.providers.features import cannot_express

CHOICES = {"none": "NONE", "required": "REQUIRED"}
"""`tool_choice`; to choose freely has no word."""
NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
"""The schema of a function that takes nothing: the vendor wants one."""


class Text(msgspec.Struct, gc=False, tag_field="type", tag="text"):
    """Text."""

    text: str


class Thinking(msgspec.Struct, gc=False, tag_field="type", tag="thinking"):
    """A thought of an earlier turn."""

    thinking: str


class ImageUrl(msgspec.Struct, gc=False, omit_defaults=True):
    """An image by URL; `data:` URLs hold it."""

    url: str
    detail: str | None = None


class Image(msgspec.Struct, gc=False, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl


class Called(msgspec.Struct, gc=False):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, gc=False):
    """A call that the model made."""

    id: str
    type: str
    function: Called


Content = str | list[Text | Thinking | Image]


class Turn(msgspec.Struct, gc=False, omit_defaults=True):
    """A message. A single text stays a string."""

    role: str
    content: Content | None = None
    tool_calls: list[ToolCall] | None = None
    tool_plan: str | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct, gc=False, omit_defaults=True):
    """A function that the model may call."""

    name: str
    parameters: Raw
    description: str | None = None


class Offer(msgspec.Struct, gc=False):
    """A tool."""

    type: str
    function: Function


class Tools(msgspec.Struct, gc=False):
    """The fields of a request that speak of tools; None: not sent."""

    offers: list[Offer] | None = None
    strict: bool | None = None
    choice: str | None = None


def turns_of(messages: Sequence[Message]) -> list[Turn]:
    """The messages, one turn each, without those that say nothing. InvalidParameter for what has no place."""
    turns = [_turn(message, f"messages[{number}]") for number, message in enumerate(messages)]
    return [turn for turn in turns if not _is_silent(turn)]


def _is_silent(turn: Turn) -> bool:
    """Whether a turn says nothing: an answer may have been empty, and comes back with the next call, but the vendor
    refuses it."""
    return turn.role in ("assistant", "system") and not turn.content and not turn.tool_calls


def tools_of(chat: Chat) -> Tools:
    """The tools and how they are chosen. To call the only tool that is offered is to call the one that is named.

    InvalidParameter where another one than the only tool is named, and where some tools are strict and others are not:
    the vendor has one switch for all."""
    tools, choice = chat.tools, chat.tool_choice
    if isinstance(choice, NamedTool) and [tool.function.name for tool in tools] != [choice.function.name]:
        raise cannot_express("tool_choice", NAME, "offer the tool that it names alone, or send required")
    strict = [number for number, tool in enumerate(tools) if tool.function.strict]
    if strict and len(strict) < len(tools):
        raise cannot_express(f"tools[{strict[0]}].function.strict", NAME, "set it for all tools or for none")
    offers = [_offer(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    return Tools(offers or None, True if strict else None, _choice(choice, bool(tools)))


def _choice(choice: str | NamedTool | None, tools: bool) -> str | None:
    if isinstance(choice, NamedTool):
        return "REQUIRED"
    return CHOICES.get(choice or "") if tools or choice != "none" else None


def _offer(tool: FunctionTool, at: str) -> Offer:
    if tool.cache_control is not None:
        raise cannot_express(f"{at}.cache_control", NAME)
    function = tool.function
    parameters = NO_PARAMETERS if function.parameters is None else function.parameters
    return Offer("function", Function(function.name, parameters, function.description))


def _turn(message: Message, at: str) -> Turn:
    if isinstance(message, Tool):
        return Turn("tool", _content(message.content, f"{at}.content"), tool_call_id=message.tool_call_id)
    if message.name is not None:
        raise cannot_express(f"{at}.name", NAME)
    match message:
        case System() | Developer():
            return Turn("system", _content(message.content, f"{at}.content"))
        case User():
            return Turn("user", _content(message.content, f"{at}.content", images=True))
    return _said(message, at)


def _content(content: str | Sequence[UserPart], at: str, *, images: bool = False) -> Content:
    if isinstance(content, str):
        return content
    return [_part(part, f"{at}[{number}]", images) for number, part in enumerate(content)]


def _part(part: UserPart, at: str, images: bool) -> Text | Image:
    if part.cache_control is not None:
        raise cannot_express(f"{at}.cache_control", NAME)
    if isinstance(part, TextPart):
        return Text(part.text)
    if isinstance(part, ImagePart) and images:
        url = part.image_url.url
        return Image(ImageUrl(url.replace("data:image/jpg;", "data:image/jpeg;", 1), part.image_url.detail))
    raise cannot_express(at, NAME)


def _said(message: Assistant, at: str) -> Turn:
    """What the model said. Text beside tool calls is its plan; a refusal is text."""
    thoughts = [Thinking(message.reasoning_content)] if message.reasoning_content else []
    texts: list[str] = []
    if isinstance(message.content, str):
        texts.append(message.content)
    else:
        for number, part in enumerate(message.content or ()):
            _add_part(part, f"{at}.content[{number}]", thoughts, texts)
    if message.refusal:
        texts.append(message.refusal)
    calls = _calls(message, at)
    if calls is not None:
        return Turn("assistant", [*thoughts] or None, calls, "\n".join(text for text in texts if text) or None)
    if not thoughts and len(texts) < 2:
        return Turn("assistant", texts[0] if texts else None)
    return Turn("assistant", [*thoughts, *(Text(text) for text in texts)])


def _add_part(
    part: TextPart | RefusalPart | ReasoningPart, at: str, thoughts: list[Thinking], texts: list[str]
) -> None:
    if isinstance(part, RefusalPart):
        texts.append(part.refusal)
        return
    if part.cache_control is not None:
        raise cannot_express(f"{at}.cache_control", NAME)
    if isinstance(part, TextPart):
        texts.append(part.text)
        return
    for number, thought in enumerate(part.summary):
        if thought.data is not None:
            raise cannot_express(f"{at}.summary[{number}].data", NAME)
        thoughts.append(Thinking(thought.text))


def _calls(message: Assistant, at: str) -> list[ToolCall] | None:
    calls = message.tool_calls or ()
    for number, call in enumerate(calls):
        if call.cache_control is not None:
            raise cannot_express(f"{at}.tool_calls[{number}].cache_control", NAME)
    return [
        ToolCall(call.id, "function", Called(call.function.name, call.function.arguments or "{}")) for call in calls
    ] or None
