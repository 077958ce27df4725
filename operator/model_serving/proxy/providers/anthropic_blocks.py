"""The conversation of a chat call as Anthropic's Messages has it: turns made of blocks, and the system's text. Pure.

Used by `anthropic_messages.py`. Turns of one role that follow each other become one, so the results of parallel tool
calls stand in a single turn of the user, which the vendor demands. It refuses blank text beside other blocks, so that
is left out; the model itself writes it before tool calls.

Reference: https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.chat import (
    Assistant,
    AssistantPart,
    CacheControl,
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCall,
    User,
    UserPart,
    arguments_object,
    data_url,
    given,
)
from model_serving.proxy.providers.features import cannot_express
from model_serving.proxy.providers.habits import is_blank, plain_id

IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
"""The media types that the vendor takes."""


class Cache(msgspec.Struct, gc=False, omit_defaults=True):
    """A mark: what precedes may be cached."""

    type: str
    ttl: str | UnsetType = UNSET


class Text(msgspec.Struct, gc=False, omit_defaults=True, tag_field="type", tag="text"):
    """Text."""

    text: str
    cache_control: Cache | UnsetType = UNSET


class Data(msgspec.Struct, gc=False, tag_field="type", tag="base64"):
    """Bytes in base64."""

    media_type: str
    data: str


class Url(msgspec.Struct, gc=False, tag_field="type", tag="url"):
    """What the vendor fetches."""

    url: str


class Plain(msgspec.Struct, gc=False, tag_field="type", tag="text"):
    """A document of text."""

    media_type: str
    data: str


class Image(msgspec.Struct, gc=False, omit_defaults=True, tag_field="type", tag="image"):
    """An image."""

    source: Data | Url
    cache_control: Cache | UnsetType = UNSET


class Document(msgspec.Struct, gc=False, omit_defaults=True, tag_field="type", tag="document"):
    """A document."""

    source: Data | Plain
    title: str | UnsetType = UNSET
    cache_control: Cache | UnsetType = UNSET


class Thinking(msgspec.Struct, gc=False, tag_field="type", tag="thinking"):
    """A thought of an earlier turn, signed by the vendor."""

    thinking: str
    signature: str


class Redacted(msgspec.Struct, gc=False, tag_field="type", tag="redacted_thinking"):
    """A thought of an earlier turn that only the vendor can read."""

    data: str


class ToolUse(msgspec.Struct, gc=False, omit_defaults=True, tag_field="type", tag="tool_use"):
    """A tool call that the model made."""

    id: str
    name: str
    input: Raw
    cache_control: Cache | UnsetType = UNSET


class ToolResult(msgspec.Struct, gc=False, tag_field="type", tag="tool_result"):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[Text | Image]


Block = Text | Image | Document | Thinking | Redacted | ToolUse | ToolResult


class Turn(msgspec.Struct, gc=False):
    """What the user or the model said at once. A single text stays a string."""

    role: str
    content: str | list[Block]


class _Conversation:
    """Takes a call's messages one by one. `urls`: images may be told by their URLs."""

    def __init__(self, provider: str, *, urls: bool) -> None:
        self.system: list[Text] = []
        self.turns: list[Turn] = []
        self._provider = provider
        self._urls = urls

    def add(self, message: Message, field: str) -> None:
        """One message; `field` is its path."""
        if isinstance(message, Tool):
            result = ToolResult(plain_id(message.tool_call_id), self._result(message, field))
            self._say("user", [result])
            return
        if message.name is not None:
            raise cannot_express(f"{field}.name", self._provider)
        if isinstance(message, User):
            content = message.content
            self._say("user", content if isinstance(content, str) else self._user(content, f"{field}.content"))
        elif isinstance(message, Assistant):
            self._assistant(message, field)
        elif isinstance(message.content, str):
            self.system += _blocks(message.content)
        else:
            self.system += [_text(part) for part in message.content if _says(part)]

    def _say(self, role: str, content: str | list[Block]) -> None:
        last = self.turns[-1] if self.turns else None
        if last is None or last.role != role:
            self.turns.append(Turn(role, content))
            return
        blocks = _blocks(last.content)
        blocks += _blocks(content)
        last.content = blocks

    def _user(self, parts: Sequence[UserPart], field: str) -> list[Block]:
        return [self._user_part(part, f"{field}[{number}]") for number, part in enumerate(parts) if _says(part)]

    def _user_part(self, part: UserPart, field: str) -> Block:
        match part:
            case TextPart():
                return _text(part)
            case ImagePart():
                return self._image(part, field)
            case FilePart():
                return self._document(part, field)
        raise cannot_express(field, self._provider)

    def _result(self, message: Tool, field: str) -> str | list[Text | Image]:
        if isinstance(message.content, str):
            return message.content
        return [
            _text(part) if isinstance(part, TextPart) else self._image(part, f"{field}.content[{number}]")
            for number, part in enumerate(message.content)
            if _says(part)
        ]

    def _image(self, part: ImagePart, field: str) -> Image:
        path = f"{field}.image_url.url"
        url = part.image_url.url
        data = _data(url, path)
        if data is None:
            if not self._urls:
                raise cannot_express(path, self._provider, "send the image as a data: URL")
            return Image(Url(url), cache(part.cache_control))
        if data[0] not in IMAGES:
            raise cannot_express(path, self._provider, "send JPEG, PNG, GIF or WebP")
        return Image(Data(*data), cache(part.cache_control))

    def _document(self, part: FilePart, field: str) -> Document:
        file = part.file
        if file.file_id is not None:
            raise cannot_express(f"{field}.file.file_id", self._provider, "send the file itself as file_data")
        path = f"{field}.file.file_data"
        data = _data(file.file_data or "", path)
        if data is None or data[0] not in ("application/pdf", "text/plain"):
            raise cannot_express(path, self._provider, "send a data: URL of application/pdf or text/plain, in base64")
        source = Data(*data) if data[0] == "application/pdf" else Plain(data[0], _decoded(data[1], path))
        return Document(source, given(file.filename), cache(part.cache_control))

    def _assistant(self, message: Assistant, field: str) -> None:
        content = message.content
        refusal, called = message.refusal or "", message.tool_calls or ()
        if isinstance(content, str) and not called and is_blank(refusal):
            if not is_blank(content):
                self._say("assistant", content)
            return
        calls = [_tool_use(call, f"{field}.tool_calls[{number}]") for number, call in enumerate(called)]
        blocks = (
            _blocks(content) if isinstance(content, str) else self._earlier(content or (), f"{field}.content", calls)
        )
        blocks += [*_blocks(refusal), *calls]
        if blocks:  # an empty turn is refused, but the model's answer may have been empty
            self._say("assistant", blocks)

    def _earlier(self, parts: Iterable[AssistantPart], field: str, calls: list[ToolUse]) -> list[Block]:
        """What the model said in an earlier turn, with those of `calls` that thoughts followed: they are taken out.

        Thoughts that came in pieces are whole with their signature."""
        blocks: list[Block] = []
        unsigned = ""
        told = 0
        for number, part in enumerate(parts):
            if isinstance(part, ReasoningPart):
                before = max(0, part.after_tool_calls - told)
                told += before
                blocks += calls[:before]
                del calls[:before]
                unsigned = self._thoughts(part, f"{field}[{number}]", blocks, unsigned)
                continue
            unsigned = ""
            if isinstance(part, RefusalPart):
                blocks += _blocks(part.refusal)
            elif _says(part):
                blocks.append(_text(part))
        return blocks

    def _thoughts(self, part: ReasoningPart, field: str, blocks: list[Block], unsigned: str) -> str:
        """Adds the signed thoughts to `blocks`; gives the text that waits for its signature."""
        if part.cache_control is not None:
            raise cannot_express(f"{field}.cache_control", self._provider)
        for number, thought in enumerate(part.summary):
            if thought.type == "summary_encrypted_text" and thought.data is not None:
                blocks.append(Redacted(thought.data))
            elif thought.type != "summary_text":
                raise cannot_express(f"{field}.summary[{number}]", self._provider)
            elif thought.signature is None:
                unsigned += thought.text
                continue
            else:
                blocks.append(Thinking(unsigned + thought.text, thought.signature))
            unsigned = ""
        return unsigned


def conversation(
    messages: Iterable[Message], provider: str, *, urls: bool = True
) -> tuple[str | list[Text], list[Turn]]:
    """The system's text, and the turns. InvalidParameter names what `provider` cannot express; without `urls`, images
    that are told by URL.

    Instructions count from the start, wherever they stand: one text by lines, or blocks where one of them is marked
    for the cache."""
    said = _Conversation(provider, urls=urls)
    for number, message in enumerate(messages):
        said.add(message, f"messages[{number}]")
    marked = any(block.cache_control is not UNSET for block in said.system)
    return said.system if marked else "\n".join(block.text for block in said.system), said.turns


def cache(mark: CacheControl | None) -> Cache | UnsetType:
    """Databricks' mark as the vendor's, which it is."""
    return UNSET if mark is None else Cache(mark.type, given(mark.ttl))


def _blocks(content: str | list[Block]) -> list[Any]:
    if isinstance(content, str):
        return [] if is_blank(content) else [Text(content)]
    return content


def _says(part: UserPart) -> bool:
    """Whether a part says anything; the vendor answers for a blank text that is marked."""
    return not isinstance(part, TextPart) or part.cache_control is not None or not is_blank(part.text)


def _text(part: TextPart) -> Text:
    return Text(part.text, cache(part.cache_control))


def _tool_use(call: ToolCall, field: str) -> ToolUse:
    return ToolUse(plain_id(call.id), call.function.name, arguments_object(call, field), cache(call.cache_control))


def _data(url: str, field: str) -> tuple[str, str] | None:
    try:
        return data_url(url)
    except ValueError as error:
        raise InvalidParameter(f"{field}: {error}", parameter=field) from None


def _decoded(data: str, field: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidParameter(f"{field} must hold UTF-8 text in base64", parameter=field) from None
