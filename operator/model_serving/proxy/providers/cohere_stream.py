"""Cohere's streams of chat as ours. Pure.

Each event tells its kind twice, by its name and by `type`; only the latter is read. `message-end` is the end mark, and
tells usage. Kinds that say nothing to our clients, and those that we do not know, are left out.

Reference: https://docs.cohere.com/docs/streaming
"""

from __future__ import annotations

import msgspec

from model_serving.proxy.providers.answers import Thought
from model_serving.proxy.providers.base import Asked, error_of_type
from model_serving.proxy.providers.chunks import Chunks
from model_serving.proxy.providers.cohere_answers import (
    NAME,
    Counted,
    Logprob,
    finish_reason,
    logprobs_object,
    usage_of,
)
from model_serving.proxy.providers.events import malformed
from model_serving.proxy.usage import Usage


class _Content(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class _ContentMessage(msgspec.Struct, gc=False):
    content: _Content | None = None


class _ContentDelta(msgspec.Struct, gc=False):
    message: _ContentMessage | None = None


class _Piece(msgspec.Struct, gc=False, tag_field="type", tag="content-delta"):
    delta: _ContentDelta | None = None
    logprobs: Logprob | None = None


class _Start(_Piece, gc=False, tag_field="type", tag="content-start"):
    pass


class _Begin(msgspec.Struct, gc=False, tag_field="type", tag="message-start"):
    id: str | None = None


class _PlanMessage(msgspec.Struct, gc=False):
    tool_plan: str | None = None


class _PlanDelta(msgspec.Struct, gc=False):
    message: _PlanMessage | None = None


class _Plan(msgspec.Struct, gc=False, tag_field="type", tag="tool-plan-delta"):
    delta: _PlanDelta | None = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _CallMessage(msgspec.Struct, gc=False):
    tool_calls: _Call | None = None


class _CallDelta(msgspec.Struct, gc=False):
    message: _CallMessage | None = None


class _CallStart(msgspec.Struct, gc=False, tag_field="type", tag="tool-call-start"):
    index: int | None = None
    delta: _CallDelta | None = None


class _CallPiece(msgspec.Struct, gc=False, tag_field="type", tag="tool-call-delta"):
    index: int | None = None
    delta: _CallDelta | None = None


class _EndDelta(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    usage: Counted | None = None
    error: str | None = None


class _End(msgspec.Struct, gc=False, tag_field="type", tag="message-end"):
    delta: _EndDelta | None = None


class _Other(msgspec.Struct, gc=False):
    """An event of another kind, or an error, which has no `type`."""

    type: str = ""
    message: str | None = None


_KINDS = frozenset(
    ("content-delta", "content-start", "message-start", "tool-plan-delta", "tool-call-start", "tool-call-delta",
     "message-end")
)  # fmt: skip
_decode = msgspec.json.Decoder(_Piece | _Start | _Begin | _Plan | _CallStart | _CallPiece | _End).decode
_decode_other = msgspec.json.Decoder(_Other).decode


class CohereStream:
    """An `events.Translator`."""

    def __init__(self, asked: Asked) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self._chunks = Chunks(asked)
        self._text = self._chunks.text
        self._calls: list[int | None] = []
        """The vendor's numbers of the calls, in their order: content shares these numbers."""
        self._bare: set[int] = set()
        """Calls without arguments so far."""

    def event(self, name: bytes, data: bytes) -> bytes:
        """What the client gets for one event."""
        try:
            event = _decode(data)
        except msgspec.ValidationError as error:
            return _other(data, error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(error) from None
        if isinstance(event, _Piece):  # nearly all of them: a pattern of the whole would take twice as long
            message = event.delta.message if event.delta is not None else None
            content = message.content if message is not None else None
            return self._piece(content, event.logprobs) if content is not None else b""
        match event:
            case _Plan(delta=_PlanDelta(message=_PlanMessage(tool_plan=str(text)))):
                return self._chunks.text(text) if text else b""
            case _CallStart(index=index, delta=_CallDelta(message=_CallMessage(tool_calls=_Call() as call))):
                return self._called(index, call)
            case _CallPiece(index=index, delta=_CallDelta(message=_CallMessage(tool_calls=_Call() as call))):
                return self._arguments(self._number(index), call)
            case _Begin(id=id):
                self._chunks.begin(id or "", "")
            case _End(delta=delta):
                return self._ended(delta or _EndDelta())
        return b""

    def end(self) -> bytes:
        """Usage, if the client wants it."""
        return self._chunks.usage(self.usage)

    def _piece(self, content: _Content, logprobs: Logprob | None) -> bytes:
        if logprobs is None and content.text and not content.thinking:
            return self._text(content.text)
        written = self._chunks.thought(Thought(content.thinking)) if content.thinking else b""
        told = logprobs_object([logprobs]) if logprobs is not None else None
        if told is not None:
            return written + self._chunks.logprobs(content.text or "", told)
        return written + (self._chunks.text(content.text) if content.text else b"")

    def _called(self, index: int | None, call: _Call) -> bytes:
        number = len(self._calls)
        self._calls.append(index)
        self._bare.add(number)
        function = call.function or _Function()
        return self._chunks.call(number, call.id or "", function.name or "") + self._arguments(number, call)

    def _arguments(self, number: int, call: _Call) -> bytes:
        piece = call.function.arguments if call.function is not None else None
        if not piece:
            return b""
        self._bare.discard(number)
        return self._chunks.arguments(number, piece)

    def _number(self, index: int | None) -> int:
        if not self._calls:
            raise malformed(ValueError("a piece of a tool call that has not begun"))
        return self._calls.index(index) if index in self._calls else len(self._calls) - 1

    def _ended(self, delta: _EndDelta) -> bytes:
        self.usage = usage_of(delta.usage)
        reason = finish_reason(delta.finish_reason, delta.error)
        self.complete = True
        nothing = b"".join(self._chunks.arguments(number, "{}") for number in sorted(self._bare))
        return nothing + self._chunks.finish(reason)


def _other(data: bytes, error: msgspec.ValidationError) -> bytes:
    """An event that is none of ours. ProviderError for an error; Unavailable for one that should have been ours."""
    try:
        other = _decode_other(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # what follows the wrong field is no JSON either
        raise malformed(error) from None
    if other.type in _KINDS or (not other.type and other.message is None):
        raise malformed(error) from None
    if not other.type:
        raise error_of_type(NAME, "", {"message": other.message})
    return b""
