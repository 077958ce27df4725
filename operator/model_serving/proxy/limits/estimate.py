"""What a call may use in tokens, judged before it is sent. Pure; the rule is documented in docs/limits.md.

The prompt: a token per four bytes of the body, rounded up. Each of the `n` answers: `max_completion_tokens` or
`max_tokens`, else `DEFAULT_COMPLETION_TOKENS`; embeddings have none.
"""

from __future__ import annotations

import msgspec

from model_serving.proxy.call import EMBEDDINGS, Fields

BYTES_PER_TOKEN = 4
DEFAULT_COMPLETION_TOKENS = 512
"""Assumed of a call that names no bound."""
_MOST = 1_000_000_000
_decode_int = msgspec.json.Decoder(int).decode


def estimate(task: str, body: bytes, fields: Fields) -> int:
    """Tokens, at least 1."""
    prompt = (len(body) + 3) // BYTES_PER_TOKEN or 1
    if task == EMBEDDINGS:
        return prompt
    bound = fields.get("max_completion_tokens") or fields.get("max_tokens")
    answer = DEFAULT_COMPLETION_TOKENS if bound is None else _whole(bound, DEFAULT_COMPLETION_TOKENS)
    if "n" in fields:
        answer *= _whole(fields["n"], 1)
    return prompt + answer


def _whole(raw: msgspec.Raw, default: int) -> int:
    """A number of a body within bounds: what is none, or absurd, must neither fail here nor lower the estimate."""
    try:
        value = _decode_int(raw)
    except ValueError:  # msgspec's errors are
        return default
    return default if value <= 0 else value if value < _MOST else _MOST
