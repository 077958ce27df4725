"""The conversation of a chat call as Gemini has it: contents made of parts, and the system's instruction. Pure.

Used by `gemini.py`. Results of tools that follow each other become one content, in the order of the calls: calls may
have no ids, and then only name and order tell which result is whose. So do the model's messages that follow each other:
the vendor wants a call right after what it answers. Empty texts are left out, for the vendor refuses them.

Reference: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.chat import (
    Assistant,
    AudioPart,
    Developer,
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    RefusalPart,
    System,
    TextPart,
    Tool,
    ToolCall,
    User,
    UserPart,
    arguments_object,
    given,
    read_field,
)
from model_serving.proxy.providers.features import cannot_express
from model_serving.proxy.providers.gemini_media import Blob, FileData, Media, Wire, media_of

MINTED = "call_vertex-"
"""How ids begin that we made for calls without one: the vendor never sees them."""
UNSIGNED = "skip_thought_signature_validator"
"""Google's word for a call whose thoughts nobody signed: another model made it, or the client lost the signature."""


class FunctionCall(Wire):
    """A call that the model made."""

    name: str
    args: Raw
    id: str | UnsetType = UNSET


class Output(Wire):
    """What a tool said. Always text, as the client sent it: an object of its own would come back changed."""

    output: str


class FunctionResponse(Wire):
    """A tool's result."""

    name: str
    response: Output
    id: str | UnsetType = UNSET
    parts: list[Media] | UnsetType = UNSET


class Part(Wire):
    """One piece of a content: exactly one of its kinds."""

    text: str | UnsetType = UNSET
    inline_data: Blob | UnsetType = UNSET
    file_data: FileData | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    function_response: FunctionResponse | UnsetType = UNSET
    thought: bool = False
    thought_signature: str | UnsetType = UNSET


class Content(Wire):
    """What the user or the model said at once; instructions have no role."""

    parts: list[Part]
    role: str | UnsetType = UNSET


Numbered = tuple[int, Message]


def conversation_of(
    messages: Sequence[Message], provider: str, *, late: bool
) -> tuple[list[Content], Content | UnsetType]:
    """The turns, and the instruction of the whole call. Without a turn the instruction is one: the vendor wants one.

    `late`: Gemini 3 or later, which demands signatures of its thoughts, and takes ids of calls. InvalidParameter."""
    contents = _contents(messages, provider, late)
    instruction = _instruction(messages, provider)
    if not contents and instruction is not UNSET:
        return [Content(instruction.parts, "user")], UNSET
    return contents, instruction


def _instruction(messages: Sequence[Message], provider: str) -> Content | UnsetType:
    """Wherever they stand."""
    parts: list[Part] = []
    for number, message in enumerate(messages):
        if isinstance(message, System | Developer):
            field = f"messages[{number}]"
            _nameless(message.name, field, provider)
            parts += _texts(message.content, f"{field}.content", provider)
    return Content(parts) if parts else UNSET


def _contents(messages: Sequence[Message], provider: str, late: bool) -> list[Content]:
    said = ((n, message) for n, message in enumerate(messages) if not isinstance(message, System | Developer))
    contents: list[Content] = []
    called: dict[str, tuple[int, str]] = {}
    for is_result, group in groupby(said, lambda pair: isinstance(pair[1], Tool)):
        if is_result:
            contents.append(Content(_results(group, called, provider, late), "user"))
            continue
        for number, message in group:
            field = f"messages[{number}]"
            if isinstance(message, User):
                _nameless(message.name, field, provider)
                parts = _user_parts(message.content, f"{field}.content", provider)
                contents += [Content(parts, "user")] if parts else []
            elif isinstance(message, Assistant):
                parts = _assistant_parts(message, field, provider, late)
                if contents and contents[-1].role == "model":
                    contents[-1].parts += parts
                elif parts:
                    contents.append(Content(parts, "model"))
                calls = enumerate(message.tool_calls or ())
                called |= {call.id: (position, call.function.name) for position, call in calls}
    return contents


def _nameless(name: str | None, field: str, provider: str) -> None:
    if name is not None:
        raise cannot_express(f"{field}.name", provider)


def _uncached(
    part: TextPart | ImagePart | AudioPart | FilePart | ReasoningPart | ToolCall, field: str, who: str
) -> None:
    if part.cache_control is not None:
        raise cannot_express(f"{field}.cache_control", who)


def _texts(content: str | list[TextPart], field: str, provider: str) -> list[Part]:
    if isinstance(content, str):
        content = [TextPart(content)]
    for number, part in enumerate(content):
        _uncached(part, f"{field}[{number}]", provider)
    return [Part(text=part.text) for part in content if part.text]


def _user_parts(content: str | list[UserPart], field: str, provider: str) -> list[Part]:
    if isinstance(content, str):
        return [Part(text=content)] if content else []
    parts = [_user_part(part, f"{field}[{number}]", provider) for number, part in enumerate(content)]
    return [part for part in parts if part.text != ""]


def _user_part(part: UserPart, field: str, provider: str) -> Part:
    _uncached(part, field, provider)
    match part:
        case TextPart():
            return Part(text=part.text)
        case ImagePart():
            media = media_of(part.image_url.url, f"{field}.image_url.url")
        case AudioPart():
            sound = part.input_audio
            media = Media(inline_data=Blob(f"audio/{sound.format}", sound.data))
        case FilePart():
            if part.file.file_data is None:
                raise cannot_express(f"{field}.file.file_id", provider, "send file_data")
            media = media_of(part.file.file_data, f"{field}.file.file_data")
    return Part(inline_data=media.inline_data, file_data=media.file_data)


def _assistant_parts(message: Assistant, field: str, provider: str, late: bool) -> list[Part]:
    _nameless(message.name, field, provider)
    parts = [Part(text=message.reasoning_content, thought=True)] if message.reasoning_content else []
    content = [TextPart(message.content)] if isinstance(message.content, str) else message.content or ()
    signature: str | None = None
    for number, part in enumerate(content):
        if isinstance(part, ReasoningPart):
            thoughts, signature = _thoughts(part, f"{field}.content[{number}]", provider)
            parts += thoughts
        elif text := _said(part, f"{field}.content[{number}]", provider):
            parts.append(Part(text=text, thought_signature=given(signature)))
            signature = None
    if signature is not None:
        parts.append(Part(text="", thought_signature=signature))
    if message.refusal:
        parts.append(Part(text=message.refusal))
    for number, call in enumerate(message.tool_calls or ()):
        called = _call(call, f"{field}.tool_calls[{number}]", provider, late)
        if late and number == 0 and called.thought_signature is UNSET:
            called.thought_signature = UNSIGNED
        parts.append(called)
    return parts


def _said(part: TextPart | RefusalPart, field: str, provider: str) -> str:
    if isinstance(part, RefusalPart):
        return part.refusal
    _uncached(part, field, provider)
    return part.text


def _thoughts(part: ReasoningPart, field: str, provider: str) -> tuple[list[Part], str | None]:
    """The thoughts, and the signature: the vendor puts it on what follows them."""
    _uncached(part, field, provider)
    signature = None
    for number, thought in enumerate(part.summary):
        if thought.type != "summary_text" or thought.data is not None:
            raise cannot_express(f"{field}.summary[{number}]", provider)
        signature = thought.signature or signature
    return [Part(text=thought.text, thought=True) for thought in part.summary if thought.text], signature


class _Google(msgspec.Struct, forbid_unknown_fields=True):
    thought_signature: str | None = None


class _Extra(msgspec.Struct, forbid_unknown_fields=True):
    google: _Google | None = None


_EXTRA = msgspec.json.Decoder(_Extra)


def _call(call: ToolCall, field: str, provider: str, late: bool) -> Part:
    _uncached(call, field, provider)
    extra = None if call.extra_content is None else read_field(f"{field}.extra_content", call.extra_content, _EXTRA)
    signature = extra.google.thought_signature if extra is not None and extra.google is not None else None
    return Part(
        function_call=FunctionCall(call.function.name, arguments_object(call, field), _own_id(call.id, late)),
        thought_signature=given(signature or None),
    )


def _own_id(id: str, late: bool) -> str | UnsetType:
    """An id, where the vendor takes one: with models before Gemini 3 it refuses calls that have it."""
    return id if late and id and not id.startswith(MINTED) else UNSET


def _results(group: Iterable[Numbered], called: Mapping[str, tuple[int, str]], provider: str, late: bool) -> list[Part]:
    found: list[tuple[int, Part]] = []
    for number, message in group:
        assert isinstance(message, Tool)
        field = f"messages[{number}]"
        position, name = called.get(message.tool_call_id, (len(found), message.name or ""))
        if not name:
            path = f"{field}.tool_call_id"
            raise InvalidParameter(f"{path}: no earlier message has a tool call of this id", parameter=path)
        response = _result(message, name, field, provider)
        response.id = _own_id(message.tool_call_id, late)
        found.append((position, Part(function_response=response)))
    return [part for _, part in sorted(found, key=lambda pair: pair[0])]


def _result(message: Tool, name: str, field: str, provider: str) -> FunctionResponse:
    content = [TextPart(message.content)] if isinstance(message.content, str) else message.content
    texts, media = [], []
    for number, part in enumerate(content):
        path = f"{field}.content[{number}]"
        _uncached(part, path, provider)
        if isinstance(part, TextPart):
            texts.append(part.text)
        else:
            media.append(media_of(part.image_url.url, f"{path}.image_url.url"))
    return FunctionResponse(name, Output("\n".join(texts)), parts=media or UNSET)
