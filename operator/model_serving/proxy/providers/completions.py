"""A text completion as OpenAI's API defines it, typed: what dialects translate from. Pure.

Reference: https://platform.openai.com/docs/api-reference/completions/create
"""

from __future__ import annotations

from typing import Any

import msgspec

from model_serving.proxy.call import Call
from model_serving.proxy.providers.chat import read_field
from model_serving.proxy.providers.features import Features, asked_fields, cannot_express
from model_serving.proxy.providers.sampling import SAMPLING, Sampling


class Completion(Sampling, gc=False, kw_only=True):
    """A completions call."""

    prompt: str
    logprobs: int | None = None


_TYPES: dict[str, Any] = SAMPLING | {
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
    completion = Completion(prompt=prompt)
    for name, raw in asked_fields(call.fields, features, provider).items():
        decoder = _DECODERS.get(name)
        if decoder is None:
            completion.other = completion.other | {name: raw}
            continue
        value = read_field(name, raw, decoder)
        setattr(completion, name, [value] if name == "stop" and isinstance(value, str) else value)
    return completion
