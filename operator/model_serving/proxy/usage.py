"""Token usage as OpenAI's API reports it, read without decoding the rest. Pure."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a call used."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """What limits of tokens count."""
        return self.prompt_tokens + self.completion_tokens


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def read_usage(body: bytes) -> tuple[Usage | None, bool]:
    """The usage in an answer's body or an event, and whether the body holds nothing else (no choices)."""
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
