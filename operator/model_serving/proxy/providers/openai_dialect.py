"""OpenAI's API as it is: bodies pass through, only `model` is ours. Spoken by every provider that is compatible.

Reference: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from model_serving.proxy.call import Call, Fields
from model_serving.proxy.errors import InvalidParameter, Unavailable
from model_serving.proxy.providers.base import Asked, Reply
from model_serving.proxy.providers.features import EVERYTHING
from model_serving.proxy.sse import EVENT_STREAM, PassThrough, StreamTranslator
from model_serving.proxy.usage import is_json, is_utf8, read_usage

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_TRUE = msgspec.Raw(b"true")
_ONLY_USAGE = msgspec.Raw(b'{"include_usage":true}')


@dataclass(frozen=True, slots=True)
class OpenAIDialect:
    """`model`: the name that replaces the endpoint's; empty: there is none in the body.

    `counts`: streams are always asked for their usage."""

    model: str
    counts: bool

    stream_type = EVENT_STREAM
    features = EVERYTHING

    def request(self, call: Call) -> list[bytes]:
        """The client's body with our model; a stream reports its usage."""
        fields = with_model(call.fields, self.model)
        if call.stream and self.counts:
            fields["stream_options"] = _asking_usage(call.fields.get("stream_options"))
        return [_encode(fields)]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """As it is."""
        body = bodies[0]
        usage, _ = read_usage(body)
        if (usage is None and not is_json(body)) or not is_utf8(body):  # a web page, nothing, half of it
            raise Unavailable("the provider's answer is not JSON")
        return Reply(body, usage)

    def stream(self, asked: Asked) -> StreamTranslator:
        """As it is, but for the usage that only we asked for."""
        hide = self.counts and not asks_usage(asked.call.fields)
        return PassThrough(hide_usage=hide)


def with_model(fields: Fields, model: str) -> Fields:
    """The body's fields with the provider's name of the model."""
    if model:
        return fields | {"model": msgspec.Raw(_encode(model))}
    return {name: value for name, value in fields.items() if name != "model"}


def asks_usage(fields: Fields) -> bool:
    """Whether the client itself wants a stream's usage."""
    raw = fields.get("stream_options")
    return raw is not None and bytes(_options(raw).get("include_usage", b"")) == b"true"


def _options(raw: msgspec.Raw | None) -> Fields:
    if raw is None or bytes(raw) == b"null":
        return {}
    try:
        return _decode_fields(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidParameter("stream_options must be an object", parameter="stream_options") from None


def _asking_usage(raw: msgspec.Raw | None) -> msgspec.Raw:
    return _ONLY_USAGE if raw is None else msgspec.Raw(_encode(_options(raw) | {"include_usage": _TRUE}))
