"""What Cohere's chat API says, and what it means to a client; common to whole answers and streams. Pure.

Reference: https://docs.cohere.com/reference/chat
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from model_serving.proxy.providers.answers import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS
from model_serving.proxy.providers.base import error_of_type
from model_serving.proxy.usage import Usage

NAME = "cohere"
"""The value of `provider`."""

FINISH_REASONS = {
    "COMPLETE": STOP,
    "STOP_SEQUENCE": STOP,
    "MAX_TOKENS": LENGTH,
    "ERROR_LIMIT": LENGTH,
    "TOOL_CALL": TOOL_CALLS,
    "ERROR_TOXIC": CONTENT_FILTER,
}
"""The two between belong to models from version 1 of the API. One that is not here counts as STOP."""
FAILURES = frozenset(("ERROR", "TIMEOUT"))
"""Reasons that say that there is no answer."""

_encode = msgspec.json.Encoder().encode


class Tokens(msgspec.Struct, gc=False):
    """Numbers of tokens, which the vendor's types call floats."""

    input_tokens: float | None = None
    output_tokens: float | None = None


class Counted(msgspec.Struct, gc=False):
    """`usage` of an answer, `meta` of embeddings."""

    tokens: Tokens | None = None
    billed_units: Tokens | None = None
    cached_tokens: float | None = None


class Logprob(msgspec.Struct, gc=False):
    """The logarithms of the probabilities of a piece of text, token by token."""

    text: str | None = None
    logprobs: list[float] | None = None


def usage_of(counted: Counted | None) -> Usage | None:
    """What was used. `tokens` are what the model read and wrote, the vendor's own words in the prompt included, and
    cached ones are part of them; `billed_units` are less, and stand in where `tokens` are not told."""
    if counted is None or (tokens := counted.tokens or counted.billed_units) is None:
        return None
    return Usage(int(tokens.input_tokens or 0), int(tokens.output_tokens or 0), int(counted.cached_tokens or 0))


def finish_reason(told: str | None, words: str | None = None) -> str:
    """Why the answer ends. ProviderError when that is a failure, which `words` may explain."""
    if words is not None or told in FAILURES:
        body = {"message": words or "the model gave no answer", "finish_reason": told}
        raise error_of_type(NAME, told or "", body)
    return FINISH_REASONS.get(told or "", STOP)


def logprobs_object(items: Sequence[Logprob]) -> Raw | None:
    """The same as OpenAI has it. The vendor does not tell which token is which part of a piece: a piece counts as one,
    its logarithm being the sum."""
    content = [
        {
            "token": item.text or "",
            "logprob": sum(item.logprobs),
            "bytes": list((item.text or "").encode()),
            "top_logprobs": [],
        }
        for item in items
        if item.logprobs
    ]
    return Raw(_encode({"content": content, "refusal": None})) if content else None
