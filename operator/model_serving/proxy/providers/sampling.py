"""How a model is to choose its words: the fields that chat and text completions have in common. Pure.

Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any

import msgspec


class Sampling(msgspec.Struct, gc=False, kw_only=True):
    """A field that the client left out, or that says nothing, is None or empty; `stop` is always a list.

    `other` holds the fields that have no type here and that the dialect's `features` name."""

    max_tokens: int | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    n: int = 1
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: int | float | None = None
    presence_penalty: int | float | None = None
    other: dict[str, msgspec.Raw] = {}


SAMPLING: dict[str, Any] = {
    "max_tokens": int,
    "temperature": int | float,
    "top_p": int | float,
    "top_k": int,
    "n": int,
    "stop": str | list[str],
    "seed": int,
    "frequency_penalty": int | float,
    "presence_penalty": int | float,
}
"""Types of the fields as clients send them."""
