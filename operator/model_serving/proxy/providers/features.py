"""What a dialect can express of a call, in tables: refusals and `docs/providers.md` are both made from them. Pure.

A field of a call is expressed, or harmless (left out, for a reason that the docs tell), or refused with a 400 that
names it. Nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from model_serving.proxy.call import Fields
from model_serving.proxy.errors import InvalidParameter

OWN = frozenset({"model", "stream", "stream_options", "messages", "prompt", "input"})
"""Fields that every dialect knows."""

HARMLESS: Mapping[str, str] = {
    "user": "tells the vendor who asks, for its statistics of abuse; the answer does not depend on it",
    "metadata": "labels for the vendor's own records",
    "safety_identifier": "tells the vendor who asks, for its statistics of abuse; the answer does not depend on it",
    "prompt_cache_key": "a hint for the vendor's cache: cost and speed, not the answer",
    "prompt_cache_retention": "a hint for the vendor's cache: cost and speed, not the answer",
}
"""Fields that any dialect may leave out, and why that harms nobody."""

NEUTRAL: Mapping[str, frozenset[bytes]] = {
    "n": frozenset((b"1", b"1.0")),
    "best_of": frozenset((b"1",)),
    "frequency_penalty": frozenset((b"0", b"0.0")),
    "presence_penalty": frozenset((b"0", b"0.0")),
    "logit_bias": frozenset((b"{}",)),
    "logprobs": frozenset((b"false", b"0")),
    "top_logprobs": frozenset((b"0",)),
    "echo": frozenset((b"false",)),
    "suffix": frozenset((b'""',)),
    "store": frozenset((b"false",)),
    "parallel_tool_calls": frozenset((b"true",)),
    "modalities": frozenset((b'["text"]',)),
    "service_tier": frozenset((b'"auto"', b'"default"')),
    "tools": frozenset((b"[]",)),
    "stop": frozenset((b"[]", b'""', b'[""]')),
    "encoding_format": frozenset((b'"float"',)),
    "response_format": frozenset((b'{"type":"text"}',)),
}
"""Values that say what is so anyway: with one of them a field counts as absent, like `null`."""


_LONGEST = 64
"""Bytes of a neutral value, with room for line breaks."""


class Features(msgspec.Struct, frozen=True):
    """What one dialect expresses. `None` for `fields`: everything passes through as it is."""

    fields: frozenset[str] | None
    """Fields of a call besides `OWN`."""
    parts: frozenset[str] = frozenset()
    """Kinds of content besides text, out of `PARTS`."""
    harmless: Mapping[str, str] = {}
    """Fields that this dialect leaves out besides `HARMLESS`, each with the reason for the docs."""
    notes: tuple[str, ...] = ()
    """Sentences for the docs: what is expressed in another way, with the field's name in backquotes."""


class _StreamOptions(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """What dialects know of `stream_options`. The second pads events for nobody to guess them by their size: it is
    harmless to leave out."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


_decode_stream_options = msgspec.json.Decoder(_StreamOptions | None).decode

PARTS: Mapping[str, str] = {
    "image data": "images in the message, as a data URL",
    "image url": "images by https URL",
    "audio": "`input_audio`",
    "file": "`file` with `file_data`",
    "cache_control": "Databricks' `cache_control` on a part",
    "reasoning": "thoughts of earlier turns, signed",
    "name": "`name` of a message's author",
    "tool images": "images in a tool's result",
    "thinking.display": "Anthropic's `display` within `thinking`: whether thoughts can be read",
}
"""Kinds of content, with the words of the docs."""

EVERYTHING = Features(None, frozenset(PARTS))


def asked_fields(fields: Fields, features: Features, provider: str) -> Fields:
    """The fields that must be expressed: without those that say nothing. InvalidParameter for one that cannot be."""
    asked = {}
    known = features.fields
    if known is not None and "stream_options" in fields:
        _check_stream_options(fields["stream_options"])
    for name, raw in fields.items():
        if name in OWN or (name == "parallel_tool_calls" and not _has_tools(fields)):
            continue
        if bytes(raw) == b"null" or (name in NEUTRAL and _compact(raw) in NEUTRAL[name]):
            continue
        if known is None or name in known:
            asked[name] = raw
        elif name not in HARMLESS and name not in features.harmless:
            raise cannot_express(name, provider)
    return asked


def _has_tools(fields: Fields) -> bool:
    """Whether anything can be called, side by side or not."""
    return bytes(fields.get("tools", b"null")) not in (b"null", b"[]")


def _compact(raw: msgspec.Raw) -> bytes:
    """A short value without blanks between its tokens; longer ones are never neutral."""
    text = bytes(raw)
    if len(text) > _LONGEST:
        return text
    try:
        return msgspec.json.encode(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text


def _check_stream_options(raw: msgspec.Raw) -> None:
    try:
        _decode_stream_options(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(f"stream_options: {error}", parameter="stream_options") from None


def cannot_express(field: str, provider: str, remedy: str = "remove it") -> InvalidParameter:
    """The refusal of a field: `field` is its path, such as `messages[2].content[0]`."""
    return InvalidParameter(f"{field}: provider {provider} cannot express this: {remedy}", parameter=field)
