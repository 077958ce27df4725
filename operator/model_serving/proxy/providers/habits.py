"""Habits of clients that say nothing of their own, made plain, so that nobody is refused for them. Pure.

Used by `chat.py` and by dialects whose vendors are stricter than OpenAI. Each habit was seen: frameworks dump whole
classes, with null for what is not there; LangChain puts the pieces of a stream together as a list that holds bare
strings, Databricks' own ChatDatabricks as one text; JavaScript and JSON writers of other languages spell 100 as 100.0;
Kimi's tool calls are named `functions.f:0`.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_read_json = json.JSONDecoder().raw_decode
_DUMPED = '[{"type": "reasoning", "summary": ['
"""How lists of thoughts begin as ChatDatabricks' text."""
_WHOLE = re.compile(rb"(-?\d+)\.0+")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What Anthropic takes, and each model on Bedrock."""
_KEPT = frozenset(("extra_content", "annotations"))
"""Fields of a message that are others' JSON."""


def plain_messages(raw: bytes) -> bytes:
    """Messages without fields that are null, and with bare strings of content as parts. DecodeError and its like."""
    return _encode(_without_null(_decode(raw)))


def dumped_parts(text: str) -> list[Any] | None:
    """The parts of content that ChatDatabricks made a text: each list of a stream as its JSON, and text between them.
    None for a text that is just that."""
    if not text.startswith(_DUMPED):
        return None
    parts: list[Any] = []
    at = 0
    while (found := text.find(_DUMPED, at)) >= 0:
        parts += _text_parts(text[at:found])
        try:
            listed, at = _read_json(text, found)
        except (ValueError, RecursionError):
            return None
        parts += listed
    return parts + _text_parts(text[at:])


def plain_number(raw: bytes) -> bytes:
    """A whole number without the zeros behind its point."""
    whole = _WHOLE.fullmatch(raw)
    return whole.group(1) if whole else raw


def plain_id(id: str) -> str:
    """A tool call's id as strict vendors take it: other vendors' ids come with earlier turns. One id, one result."""
    return id if _CALL_ID.fullmatch(id) else f"call_{sha256(id.encode()).hexdigest()[:32]}"


def is_blank(text: str) -> bool:
    """Whether a text says nothing: such are refused by Anthropic's models, and written by them before tool calls."""
    return not text or text.isspace()


def _text_parts(text: str) -> list[Any]:
    return [{"type": "text", "text": text}] if text else []


def _without_null(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {name: v if name in _KEPT else _without_null(v) for name, v in value.items() if v is not None}
    if isinstance(plain.get("content"), list):
        plain["content"] = [{"type": "text", "text": v} if isinstance(v, str) else v for v in plain["content"]]
    return plain
