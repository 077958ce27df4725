"""Anthropic's streams in the client's format. Pure.

Reference: https://docs.claude.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import msgspec

from model_serving.proxy.errors import ProviderError
from model_serving.proxy.providers.answers import STOP, Thought
from model_serving.proxy.providers.anthropic_answers import (
    Block,
    Counts,
    StopDetails,
    arguments_of,
    finish_reason,
    thought_of,
    usage_of,
)
from model_serving.proxy.providers.base import Asked, error_of_type
from model_serving.proxy.providers.chunks import Chunks
from model_serving.proxy.providers.events import malformed
from model_serving.proxy.usage import Usage


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class _Start(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: Counts | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: Block | None = None
    message: _Start | None = None
    usage: Counts | None = None


class _Kind(msgspec.Struct, gc=False):
    type: str


class _Error(msgspec.Struct, gc=False):
    error: _Kind


class _Open(msgspec.Struct, gc=False):
    """A tool call under way: its number among them, and whether its arguments have begun."""

    number: int
    begun: bool


_decode = msgspec.json.Decoder(_Event).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_decode_any = msgspec.json.Decoder().decode
_TRANSLATED = frozenset(
    ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta")
)


class MessageEvents:
    """The `Translator` of one message. Events and blocks of types that are not known here are left out, as the vendor
    asks of its clients; none come unless a call asks for them."""

    def __init__(self, asked: Asked, provider: str) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self._provider = provider
        self._chunks = Chunks(asked)
        self._calls: dict[int, _Open] = {}
        self._counts: Counts | None = None
        self._reason = STOP
        self._refusal: str | None = None

    def event(self, name: bytes, data: bytes) -> bytes:
        """What the client gets for one event; most are pieces of text."""
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._unreadable(data, error)
        delta = event.delta
        if delta is not None and delta.type == "text_delta":
            return self._chunks.text(delta.text)
        match event.type:
            case "content_block_delta" if delta is not None:
                return self._delta(event.index, delta)
            case "content_block_start" if event.content_block is not None:
                return self._block(event.index, event.content_block)
            case "content_block_stop":
                return self._block_end(event.index)
            case "message_start" if event.message is not None:
                self._chunks.begin(event.message.id, event.message.model)
                self._count(event.message.usage)
            case "message_delta" if delta is not None:
                self._ending(delta)
                self._count(event.usage)
            case "message_stop":
                return self._end()
            case "error":
                raise stream_error(self._provider, data)
        return b""

    def end(self) -> bytes:
        """Nothing: the end mark has brought the last."""
        return b""

    def _unreadable(self, data: bytes, error: Exception) -> bytes:
        """An error is told, however it looks; so is a known event that is not as the API says."""
        try:
            kind = _decode_kind(data).type
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise malformed(error) from None
        if kind == "error":
            raise stream_error(self._provider, data)
        if kind in _TRANSLATED:
            raise malformed(error)
        return b""

    def _block(self, index: int, block: Block) -> bytes:
        match block.type:
            case "text" if block.text:
                return self._chunks.text(block.text)
            case "thinking" | "redacted_thinking" if block.thinking or block.signature or block.data:
                return self._thought(thought_of(block))
            case "tool_use":
                number, arguments = len(self._calls), arguments_of(block)
                self._calls[index] = _Open(number, begun=bool(arguments))
                told = self._chunks.call(number, block.id, block.name)
                return told + self._chunks.arguments(number, arguments) if arguments else told
        return b""

    def _delta(self, index: int, delta: _Delta) -> bytes:
        match delta.type:
            case "thinking_delta":
                return self._thought(Thought(delta.thinking))
            case "signature_delta":
                return self._thought(Thought(signature=delta.signature))
            case "input_json_delta" if delta.partial_json and index in self._calls:
                call = self._calls[index]
                call.begun = True
                return self._chunks.arguments(call.number, delta.partial_json)
        return b""

    def _thought(self, thought: Thought) -> bytes:
        thought.after = len(self._calls)
        return self._chunks.thought(thought)

    def _block_end(self, index: int) -> bytes:
        """A call without arguments streams none, but they are an object."""
        call = self._calls.get(index)
        if call is None or call.begun:
            return b""
        call.begun = True
        return self._chunks.arguments(call.number, "{}")

    def _ending(self, delta: _Delta) -> None:
        if delta.stop_reason is not None:
            self._reason = finish_reason(delta.stop_reason)
        if delta.stop_details is not None:
            self._refusal = delta.stop_details.explanation

    def _count(self, counts: Counts | None) -> None:
        """Counts are cumulative; the later event tells only some of them, and compatible servers zeros for the rest."""
        if counts is None:
            return
        if self._counts is not None:
            for name in counts.__struct_fields__:
                if not getattr(counts, name):
                    setattr(counts, name, getattr(self._counts, name))
        self._counts = counts
        self.usage = usage_of(counts)

    def _end(self) -> bytes:
        self.complete = True
        chunks = self._chunks
        refused = chunks.refusal(self._refusal) if self._refusal is not None else b""
        return refused + chunks.finish(self._reason) + chunks.usage(self.usage)


def stream_error(provider: str, data: bytes) -> ProviderError:
    """The error that the vendor sends amid a stream, where only its type tells the status."""
    try:
        kind = _decode_error(data).error.type
        return error_of_type(provider, kind, _decode_any(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return error_of_type(provider, "", data[:4096].decode("utf-8", "replace"))
