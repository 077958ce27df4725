"""Anthropic's text completions, the API before Messages: for models that speak nothing else. Pure.

Reference: https://docs.claude.com/en/api/complete
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from model_serving.proxy.call import Call
from model_serving.proxy.providers.answers import LENGTH, STOP, Said, write_reply
from model_serving.proxy.providers.anthropic_messages import (
    MAX_TOKENS,
    Metadata,
    metadata,
    stop_sequences,
    unless_one,
)
from model_serving.proxy.providers.anthropic_stream import stream_error
from model_serving.proxy.providers.base import Asked, Reply, understood
from model_serving.proxy.providers.chat import given, read_field
from model_serving.proxy.providers.chunks import Chunks
from model_serving.proxy.providers.completions import read_completion
from model_serving.proxy.providers.events import TranslatedStream, malformed
from model_serving.proxy.providers.features import Features
from model_serving.proxy.sse import EVENT_STREAM, StreamTranslator
from model_serving.proxy.usage import Usage

FEATURES = Features(
    fields=frozenset(("max_tokens", "temperature", "top_p", "top_k", "stop", "user", "safety_identifier")),
    notes=(
        "`prompt` stands between `Human:` and `Assistant:`, as the models expect",
        f"`max_tokens` is {MAX_TOKENS} where the call sets none: the vendor demands a number",
        "`stop` must not be blank",
        "`temperature` `1` and `top_p` `1` are left out: they change nothing",
        "`user` or `safety_identifier` becomes `metadata.user_id`, but not an e-mail address: the vendor refuses those",
        "`anthropicApiBase` may end in `/v1` or not, for both tasks",
        "answers tell no usage: the vendor does not count",
    ),
)


class _Request(msgspec.Struct, gc=False, omit_defaults=True):
    model: str
    prompt: str
    max_tokens_to_sample: int
    stream: bool = False
    temperature: int | float | UnsetType = UNSET
    top_p: int | float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    stop_sequences: list[str] = []
    metadata: Metadata | UnsetType = UNSET


class _Completion(msgspec.Struct, gc=False):
    completion: str
    id: str = ""
    model: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = "completion"
    completion: str = ""
    id: str = ""
    model: str = ""
    stop_reason: str | None = None


_encode = msgspec.json.Encoder().encode
_STR = msgspec.json.Decoder(str)
_COMPLETION = msgspec.json.Decoder(_Completion)
_decode = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True, slots=True)
class Complete:
    """`provider`: the name in refusals."""

    provider: str
    model: str

    stream_type = EVENT_STREAM
    features = FEATURES

    def request(self, call: Call) -> list[bytes]:
        """The one request."""
        asked = read_completion(call, FEATURES, self.provider)
        user = asked.other.get("user")
        request = _Request(
            model=self.model,
            prompt=f"\n\nHuman: {asked.prompt}\n\nAssistant:",
            max_tokens_to_sample=MAX_TOKENS if asked.max_tokens is None else asked.max_tokens,
            stream=call.stream,
            temperature=given(unless_one(asked.temperature)),
            top_p=given(unless_one(asked.top_p)),
            top_k=given(asked.top_k),
            stop_sequences=stop_sequences(asked.stop, self.provider),
            metadata=metadata(None if user is None else read_field("user", user, _STR), asked.other),
        )
        return [_encode(request)]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The text, as it is."""
        answer = understood(_COMPLETION, bodies[0])
        said = Said(_finish_reason(answer.stop_reason), answer.completion)
        return write_reply(asked, [said], None, id=answer.id, model=answer.model)

    def stream(self, asked: Asked) -> StreamTranslator:
        """The text's pieces."""
        return TranslatedStream(CompletionEvents(asked, self.provider))


class CompletionEvents:
    """The `Translator` of one completion: the event with a reason is the last."""

    usage: Usage | None = None

    def __init__(self, asked: Asked, provider: str) -> None:
        self.complete = False
        self._provider = provider
        self._chunks = Chunks(asked)
        self._begun = False

    def event(self, name: bytes, data: bytes) -> bytes:
        """What the client gets for one event."""
        if name == b"error":
            raise stream_error(self._provider, data)
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(error) from None
        if event.type != "completion":
            if event.type == "error":
                raise stream_error(self._provider, data)
            return b""
        if not self._begun:
            self._begun = True
            self._chunks.begin(event.id, event.model)
        piece = self._chunks.text(event.completion) if event.completion else b""
        if event.stop_reason is None:
            return piece
        self.complete = True
        return piece + self._chunks.finish(_finish_reason(event.stop_reason))

    def end(self) -> bytes:
        """Nothing: the last event has told all."""
        return b""


def _finish_reason(stop_reason: str | None) -> str:
    return LENGTH if stop_reason == "max_tokens" else STOP
