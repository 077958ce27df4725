"""Token usage as OpenAI's API reports it, read without decoding the rest. Pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import astuple, force_setattr

MOST_TOKENS = 2**53
"""What numbers of JSON can tell apart."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a call used. Cached ones are part of the prompt's, reasoning ones of the completion's."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_written_tokens: int = 0
    """Also part of the prompt's: tokens that were put into the vendor's cache."""

    def __post_init__(self) -> None:
        """Counters and limits add these up: no vendor's number may set them back, or break them for good."""
        counts = astuple(self)
        if min(counts) < 0 or max(counts) > MOST_TOKENS:
            for name, count in zip(self.__struct_fields__, counts, strict=True):
                force_setattr(self, name, max(0, min(count, MOST_TOKENS)))

    @property
    def total_tokens(self) -> int:
        """What limits of tokens count."""
        return self.prompt_tokens + self.completion_tokens


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _DetailedUsage(_Usage):
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    cache_read_input_tokens: int | None = None
    """Databricks' own word for cached tokens."""
    cache_creation_input_tokens: int | None = None


class _DetailedBody(msgspec.Struct):
    usage: _DetailedUsage | None = None
    choices: list[msgspec.Raw] | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None


_decode_detailed = msgspec.json.Decoder(_DetailedBody).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def read_usage(body: bytes) -> tuple[Usage | None, bool]:
    """The usage in an answer's body or an event, and whether the body holds nothing else (no choices)."""
    try:
        decoded = _decode_detailed(body)
    except msgspec.ValidationError:
        return _read_plainly(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, False
    if decoded.usage is None:
        return None, False
    return _detailed(decoded.usage), decoded.choices == []


def _detailed(found: _DetailedUsage) -> Usage:
    prompt, completion = found.prompt_tokens_details, found.completion_tokens_details
    return Usage(
        found.prompt_tokens or 0,
        found.completion_tokens or 0,
        (prompt.cached_tokens if prompt is not None else 0) or found.cache_read_input_tokens or 0,
        (completion.reasoning_tokens if completion is not None else 0) or 0,
        found.cache_creation_input_tokens or 0,
    )


def _read_plainly(body: bytes) -> tuple[Usage | None, bool]:
    """Without details: odd ones must not hide the sums, which limits count."""
    try:
        decoded = _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, False
    if decoded.usage is None:
        return None, False
    usage = Usage(decoded.usage.prompt_tokens or 0, decoded.usage.completion_tokens or 0)
    return usage, decoded.choices == []


def is_json(body: bytes) -> bool:
    """Whether a body is a complete JSON value: what an answer must be, whatever its head says."""
    try:
        _decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def is_utf8(body: bytes) -> bool:
    """Whether all of a body is text: the decoders above look only into the strings that they need."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
