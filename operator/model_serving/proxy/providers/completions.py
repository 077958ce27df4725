"""A text completion as OpenAI's API defines it, typed: what dialects translate from. Pure.

Reference: https://platform.openai.com/docs/api-reference/completions/create
"""

from __future__ import annotations

from typing import Any

import msgspec

from model_serving.proxy.call import Call
from model_serving.proxy.providers.chat import read_field
from model_serving.proxy.providers.features import Features, asked_fields, cannot_express


class Completion(msgspec.Struct, gc=False):
    """A completions call; what the client left out, or what says nothing, is None or empty. `stop` is always a list."""

    prompt: str
    max_tokens: int | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    n: int = 1
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: int | float | None = None
    presence_penalty: int | float | None = None
    logprobs: int | None = None
    other: dict[str, msgspec.Raw] = {}


_TYPES: dict[str, Any] = {
    "max_tokens": int,
    "temperature": int | float,
    "top_p": int | float,
    "top_k": int,
    "n": int,
    "stop": str | list[str],
    "seed": int,
    "frequency_penalty": int | float,
    "presence_penalty": int | float,
    "logprobs": int,
}
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _TYPES.items()}
_PROMPT = msgspec.json.Decoder(str | list[str | int | list[int]])


def read_completion(call: Call, features: Features, provider: str) -> Completion:
    """The call, typed. InvalidParameter, also for several prompts, which only OpenAI takes."""
    prompt = read_field("prompt", call.fields["prompt"], _PROMPT)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise cannot_express("prompt", provider, "send one text")
    completion = Completion(prompt)
    for name, raw in asked_fields(call.fields, features, provider).items():
        decoder = _DECODERS.get(name)
        if decoder is None:
            completion.other = completion.other | {name: raw}
            continue
        value = read_field(name, raw, decoder)
        setattr(completion, name, [value] if name == "stop" and isinstance(value, str) else value)
    return completion
