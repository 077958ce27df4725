"""The conversation of a chat call as Converse has it: system blocks, and messages made of blocks. Pure.

Used by `bedrock_converse.py`. Roles alternate: messages of one role that follow each other become one, so the results
of parallel tool calls stand in a single message of the user. Converse refuses blank text, so that is left out. A mark
for the cache is a block of its own, behind what it marks.

Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.chat import (
    Assistant,
    AudioPart,
    CacheControl,
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
    arguments_object,
    data_url,
)
from model_serving.proxy.providers.features import cannot_express
from model_serving.proxy.providers.habits import is_blank, plain_id

Block = dict[str, Any]
"""One block: its only key tells its kind."""
Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart | ReasoningPart

IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    f"{_OFFICE}.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
"""Formats by media type, those that the vendor knows."""
_UNNAMEABLE = re.compile(r"[^0-9A-Za-z\-()\[\]]+")
"""What the vendor allows in a document's name is the rest, and single blanks."""


class Conversation:
    """Messages, read one after the other. InvalidParameter for what Converse cannot express."""

    def __init__(self, provider: str) -> None:
        self.system: list[Block] = []
        self.messages: list[dict[str, Any]] = []
        self.called: dict[str, None] = {}
        """The names of the functions that were called, in order."""
        self._provider = provider
        self._documents: set[str] = set()
        self._unsigned = ""
        """Text of thoughts that waits for its signature: streams bring it in pieces, and so it may come back."""

    def read(self, messages: Sequence[Message]) -> None:
        """All of them. Instructions go to the front, wherever they stand."""
        for number, message in enumerate(messages):
            field = f"messages[{number}]"
            if message.name is not None and not isinstance(message, Tool):  # a tool's says what its call's id says
                raise cannot_express(f"{field}.name", self._provider)
            match message:
                case System() | Developer():
                    self.system += self._content(message.content, field)
                case User():
                    self._say("user", self._content(message.content, field))
                case Assistant():
                    self._say("assistant", self._assistant(message, field))
                case Tool():
                    self._say("user", self._result(message, field))
        for told in self.messages:
            told["content"] = told["content"] or [{"text": ""}]

    def _say(self, role: str, blocks: list[Block]) -> None:
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        elif blocks or role == "user":  # the model's answer may have been empty; an empty question is the vendor's
            self.messages.append({"role": role, "content": blocks})

    def _assistant(self, message: Assistant, field: str) -> list[Block]:
        """The turn. Thoughts that followed tool calls stand behind them again: their signatures tell the place."""
        calls = [self._call(call, f"{field}.tool_calls[{n}]") for n, call in enumerate(message.tool_calls or ())]
        blocks = self._content(message.content, field, calls) + _text(message.refusal or "")
        return blocks + list(chain(*calls))

    def _call(self, call: ToolCall, field: str) -> list[Block]:
        name = call.function.name
        self.called[name] = None
        use = {"toolUseId": plain_id(call.id), "name": name, "input": arguments_object(call, field)}
        return [{"toolUse": use}, *_mark(call.cache_control)]

    def _result(self, message: Tool, field: str) -> list[Block]:
        """A result holds no marks: one on its last part comes behind it."""
        parts = [TextPart(message.content)] if isinstance(message.content, str) else message.content
        content: list[Block] = []
        for number, part in enumerate(parts):
            path = f"{field}.content[{number}]"
            if part.cache_control is not None and part is not parts[-1]:
                raise cannot_express(f"{path}.cache_control", self._provider, "mark the last part")
            content += self._block(part, path)
        result = {"toolUseId": plain_id(message.tool_call_id), "content": content}
        return [{"toolResult": result}, *_mark(parts[-1].cache_control if parts else None)]

    def _content(
        self, content: str | Sequence[Part] | None, field: str, calls: list[list[Block]] | None = None
    ) -> list[Block]:
        """The blocks of content, with those of `calls` that thoughts followed: they are taken out."""
        if isinstance(content, str):
            return _text(content)
        blocks: list[Block] = []
        self._unsigned = ""
        told = 0
        for number, part in enumerate(content or ()):
            if not isinstance(part, ReasoningPart):
                self._unsigned = ""
            while calls and isinstance(part, ReasoningPart) and told < part.after_tool_calls:
                told += 1
                blocks += calls.pop(0)
            blocks += self._block(part, f"{field}.content[{number}]")
            if not isinstance(part, RefusalPart):
                blocks += _mark(part.cache_control)
        return blocks

    def _block(self, part: Part, field: str) -> list[Block]:
        match part:
            case TextPart():
                return _text(part.text)
            case RefusalPart():
                return _text(part.refusal)
            case ImagePart():
                return [self._image(part, field)]
            case AudioPart():
                sound = part.input_audio
                return [{"audio": {"format": sound.format, "source": {"bytes": sound.data}}}]
            case FilePart():
                return [self._document(part, field)]
            case ReasoningPart():
                return self._thoughts(part, field)

    def _image(self, part: ImagePart, field: str) -> Block:
        path = f"{field}.image_url.url"
        kind, data = self._data(part.image_url.url, path)
        if kind not in IMAGES:
            raise cannot_express(path, self._provider, f"send one of {', '.join(IMAGES)}")
        return {"image": {"format": IMAGES[kind], "source": {"bytes": data}}}

    def _document(self, part: FilePart, field: str) -> Block:
        if part.file.file_data is None:
            raise cannot_express(f"{field}.file.file_id", self._provider, "send the document in file_data")
        path = f"{field}.file.file_data"
        kind, data = self._data(part.file.file_data, path)
        if kind not in DOCUMENTS:
            raise cannot_express(path, self._provider, f"send one of {', '.join(DOCUMENTS)}")
        name = self._name(part.file.filename or "")
        return {"document": {"format": DOCUMENTS[kind], "name": name, "source": {"bytes": data}}}

    def _name(self, filename: str) -> str:
        """A name that the vendor takes: of few characters, and used once."""
        stem = filename.rpartition(".")[0] or filename
        name = unique = _UNNAMEABLE.sub(" ", stem).strip()[:190] or "document"
        number = 1
        while unique in self._documents:
            number += 1
            unique = f"{name} {number}"
        self._documents.add(unique)
        return unique

    def _data(self, url: str, path: str) -> tuple[str, str]:
        try:
            found = data_url(url)
        except ValueError as error:
            raise InvalidParameter(f"{path}: {error}", parameter=path) from None
        if found is None:
            raise cannot_express(path, self._provider, "send the content as a data: URL")
        return found

    def _thoughts(self, part: ReasoningPart, field: str) -> list[Block]:
        """Those that are signed, or sealed: models take back no others."""
        blocks: list[Block] = []
        for number, thought in enumerate(part.summary):
            if thought.data is not None:
                blocks.append({"reasoningContent": {"redactedContent": thought.data}})
            elif thought.type != "summary_text":
                raise cannot_express(f"{field}.summary[{number}]", self._provider)
            elif thought.signature is None:
                self._unsigned += thought.text
                continue
            else:
                text = {"text": self._unsigned + thought.text, "signature": thought.signature}
                blocks.append({"reasoningContent": {"reasoningText": text}})
            self._unsigned = ""
        return blocks


def _text(text: str) -> list[Block]:
    return [] if is_blank(text) else [{"text": text}]


def _mark(cache: CacheControl | None) -> list[Block]:
    return [] if cache is None else [cache_point(cache)]


def cache_point(cache: CacheControl) -> Block:
    """The mark behind what may be cached."""
    return {"cachePoint": {"type": "default"} | ({"ttl": cache.ttl} if cache.ttl else {})}
