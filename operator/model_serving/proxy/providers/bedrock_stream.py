"""The events of ConverseStream as ours. Pure; used by the dialect of Converse.

`messageStop` tells why the answer ends, `metadata` after it what was used: only then is a stream complete.

Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.errors import ProviderError
from model_serving.proxy.providers.answers import Thought
from model_serving.proxy.providers.base import Asked, error_of_type, understood
from model_serving.proxy.providers.bedrock_answers import TokenUsage, finish_reason, untold, usage_of
from model_serving.proxy.providers.bedrock_frames import ERROR
from model_serving.proxy.providers.chunks import Chunks
from model_serving.proxy.providers.events import malformed
from model_serving.proxy.usage import Usage


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """A part of an event; fields that vendors add are left alone."""


class _Arguments(_Struct):
    input: str


class _Reasoning(_Struct):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Piece(_Struct):
    text: str | None = None
    tool_use: _Arguments | None = None
    reasoning_content: _Reasoning | None = None
    citation: Raw | UnsetType = UNSET


class _Delta(_Struct):
    delta: _Piece
    content_block_index: int = 0


class _ToolUse(_Struct):
    tool_use_id: str
    name: str


class _Begun(_Struct):
    tool_use: _ToolUse | None = None
    tool_result: Raw | UnsetType = UNSET
    image: Raw | UnsetType = UNSET


class _Start(_Struct):
    start: _Begun = msgspec.field(default_factory=_Begun)
    content_block_index: int = 0


class _Stop(_Struct):
    content_block_index: int = 0


class _MessageStop(_Struct):
    stop_reason: str


class _Metadata(_Struct):
    usage: TokenUsage | None = None


_decode_delta = msgspec.json.Decoder(_Delta).decode
_START, _STOP = msgspec.json.Decoder(_Start), msgspec.json.Decoder(_Stop)
_MESSAGE_STOP, _METADATA = msgspec.json.Decoder(_MessageStop), msgspec.json.Decoder(_Metadata)


class ConverseTranslator:
    """One stream. Blocks are numbered by the vendor over all kinds; tool calls are numbered anew."""

    def __init__(self, asked: Asked, provider: str) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self._provider = provider
        self._chunks = Chunks(asked)
        self._calls: dict[int, int] = {}
        self._silent: set[int] = set()
        """Calls whose arguments have not begun."""
        self._sealed: dict[int, bytes] = {}
        """Thoughts that only the vendor can read, by block: they come in pieces."""
        self._ended = False

    def event(self, name: bytes, data: bytes) -> bytes:
        """What the client gets for one event."""
        if name == b"contentBlockDelta":
            try:
                event = _decode_delta(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise malformed(error) from None
            text = event.delta.text
            if text is not None:
                return self._chunks.text(text) if text else b""
            return self._piece(event)
        if name.startswith(ERROR):
            raise self._error(name.removeprefix(ERROR).decode("utf-8", "replace"), data)
        return self._framing(name, data)

    def end(self) -> bytes:
        """Nothing more. A stream whose usage never came is complete all the same."""
        self.complete = self.complete or self._ended
        return b""

    def _framing(self, name: bytes, data: bytes) -> bytes:
        match name:
            case b"contentBlockStart":
                return self._start(understood(_START, data))
            case b"contentBlockStop":
                return self._stop(understood(_STOP, data).content_block_index)
            case b"messageStop":
                self._ended = True
                return self._chunks.finish(finish_reason(understood(_MESSAGE_STOP, data).stop_reason))
            case b"metadata":
                self.usage = usage_of(understood(_METADATA, data).usage)
                self.complete = self._ended
                return self._chunks.usage(self.usage)
        return b""  # `messageStart`, and what the vendor may add

    def _start(self, event: _Start) -> bytes:
        call = event.start.tool_use
        if call is None:
            if event.start.tool_result is UNSET and event.start.image is UNSET:  # a block of text, announced
                return b""
            raise untold()
        number = self._calls[event.content_block_index] = len(self._calls)
        self._silent.add(number)
        return self._chunks.call(number, call.tool_use_id, call.name)

    def _piece(self, event: _Delta) -> bytes:
        piece, block = event.delta, event.content_block_index
        if piece.tool_use is not None:
            number = self._calls.get(block)
            if number is None:
                raise malformed(ValueError("arguments of a tool call that has not begun"))
            if not piece.tool_use.input:
                return b""
            self._silent.discard(number)
            return self._chunks.arguments(number, piece.tool_use.input)
        if piece.reasoning_content is not None:
            return self._thought(piece.reasoning_content, block)
        if piece.citation is not UNSET:  # of documents: never asked for
            return b""
        raise untold()

    def _thought(self, piece: _Reasoning, block: int) -> bytes:
        if piece.redacted_content is not None:
            try:
                data = base64.b64decode(piece.redacted_content, validate=True)
            except binascii.Error as error:
                raise malformed(error) from None
            self._sealed[block] = self._sealed.get(block, b"") + data
            return b""
        thought = Thought(piece.text or "", piece.signature, after=len(self._calls))
        return self._chunks.thought(thought) if thought.text or thought.signature else b""

    def _stop(self, block: int) -> bytes:
        sealed = self._sealed.pop(block, None)
        if sealed is not None:
            return self._chunks.thought(Thought(data=base64.b64encode(sealed).decode(), after=len(self._calls)))
        number = self._calls.get(block)
        if number is not None and number in self._silent:
            self._silent.discard(number)
            return self._chunks.arguments(number, "{}")
        return b""

    def _error(self, kind: str, data: bytes) -> ProviderError:
        words: Any
        try:
            words = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            words = data[:4096].decode("utf-8", "replace")
        return error_of_type(self._provider, kind, words)
