"""AI21 Labs: text completions by its Jurassic models. No streams.

The vendor's reference tells of this API no more; its package `ai21` did until version 3.
Reference: https://docs.ai21.com/reference/j2-complete-ref
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from msgspec import Raw

from model_serving.proxy.call import COMPLETIONS, Call
from model_serving.proxy.credentials.scheme import Bearer, Scheme
from model_serving.proxy.errors import Unavailable
from model_serving.proxy.providers.answers import LENGTH, STOP, Said, write_reply
from model_serving.proxy.providers.base import Asked, Dialect, Reply, understood
from model_serving.proxy.providers.completions import read_completion
from model_serving.proxy.providers.features import Features, cannot_express
from model_serving.proxy.sse import StreamTranslator
from model_serving.proxy.usage import Usage
from model_serving.proxy_config import Target

NAME = "ai21labs"
DEFAULT_BASE = "https://api.ai21.com"
ROOT = "/studio/v1"
FINISH_REASONS = {"length": LENGTH, "stop": STOP, "endoftext": STOP}
"""One that is not here counts as STOP."""

FEATURES = Features(
    fields=frozenset(
        ("max_tokens", "temperature", "top_p", "n", "stop", "frequency_penalty", "presence_penalty", "logprobs")
    ),
    notes=(
        "for servers and gateways that speak this API: the vendor's own package and reference tell of it no more",
        "`stream` is refused: answers come as a whole only",
        "`frequency_penalty` and `presence_penalty` are the `scale` of `frequencyPenalty` and `presencePenalty`, which "
        "the vendor measures on scales of its own",
        "`logprobs` is `topKReturn`: how many alternatives are told for each token",
        "`usage` counts the tokens of prompt and completions that the answer holds",
    ),
)


class _Penalty(msgspec.Struct, gc=False):
    scale: int | float


class _Request(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    prompt: str
    num_results: int | None = None
    max_tokens: int | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k_return: int | None = None
    stop_sequences: list[str] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None


class _Alternative(msgspec.Struct, gc=False):
    token: str
    logprob: float | None = None


class _Range(msgspec.Struct, gc=False):
    start: int


class _Token(msgspec.Struct, gc=False, rename="camel"):
    generated_token: _Alternative
    top_tokens: list[_Alternative] | None = None
    text_range: _Range | None = None


class _Prompt(msgspec.Struct, frozen=True, gc=False):
    tokens: list[Raw] = []


class _Data(msgspec.Struct, gc=False):
    text: str | None = None
    tokens: list[_Token] | None = None


class _Reason(msgspec.Struct, frozen=True, gc=False):
    reason: str | None = None


class _Completion(msgspec.Struct, gc=False, rename="camel"):
    data: _Data
    finish_reason: _Reason = _Reason()


class _Answer(msgspec.Struct, gc=False):
    completions: list[_Completion]
    id: int | str = ""
    prompt: _Prompt = _Prompt()


_encode = msgspec.json.Encoder().encode
_ANSWER = msgspec.json.Decoder(_Answer)


class AI21Labs:
    """Provider `ai21labs`."""

    name = NAME
    tasks = frozenset((COMPLETIONS,))

    def url(self, target: Target, stream: bool) -> str:
        """The model's path below the base URL, which may or may not end in `/studio/v1`."""
        model = quote(target.model, safe="")
        if model in ("", ".", ".."):
            raise ValueError(f"{target.model!r} is not the name of a model")
        base = target.settings.get("ai21labs_api_base", DEFAULT_BASE).rstrip("/")
        return f"{base.removesuffix(ROOT)}{ROOT}/{model}/complete"

    def scheme(self, target: Target) -> Scheme:
        """A bearer token."""
        return Bearer(target.credentials["ai21labs_api_key"])

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """None."""
        return []

    def dialect(self, target: Target) -> Dialect:
        """Its only one; the path names the model."""
        return Complete()


@dataclass(frozen=True, slots=True)
class Complete:
    """Text completions."""

    stream_type = b""
    features = FEATURES

    def request(self, call: Call) -> list[bytes]:
        """One body. InvalidParameter for a stream."""
        if call.stream:
            raise cannot_express("stream", NAME)
        asked = read_completion(call, self.features, NAME)
        request = _Request(
            asked.prompt,
            num_results=asked.n if asked.n != 1 else None,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k_return=asked.logprobs,
            stop_sequences=asked.stop or None,
            frequency_penalty=_penalty(asked.frequency_penalty),
            presence_penalty=_penalty(asked.presence_penalty),
        )
        return [_encode(request)]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """As many choices as there are completions."""
        answer = understood(_ANSWER, bodies[0])
        wanted = asked.call.fields.get("logprobs")
        told = wanted is not None and bytes(wanted) not in (b"null", b"0", b"false")
        said = [_said(completion, told) for completion in answer.completions]
        return write_reply(asked, said, _usage(answer), id=str(answer.id))

    def stream(self, asked: Asked) -> StreamTranslator:
        """There is none."""
        raise Unavailable(f"provider {NAME} has no streams")


def _penalty(scale: int | float | None) -> _Penalty | None:
    return None if scale is None else _Penalty(scale)


def _said(completion: _Completion, logprobs: bool) -> Said:
    data = completion.data
    reason = FINISH_REASONS.get(completion.finish_reason.reason or "", STOP)
    told = _logprobs(data.tokens) if logprobs and data.tokens else None
    return Said(reason, text=data.text or "", logprobs=told)


def _logprobs(tokens: Sequence[_Token]) -> Raw:
    """As OpenAI's completions have them; the vendor writes blanks in tokens as `▁`."""
    found = {
        "tokens": [_text(token.generated_token) for token in tokens],
        "token_logprobs": [token.generated_token.logprob for token in tokens],
        "top_logprobs": [{_text(other): other.logprob for other in token.top_tokens or ()} for token in tokens],
        "text_offset": [token.text_range.start if token.text_range is not None else 0 for token in tokens],
    }
    return Raw(_encode(found))


def _text(token: _Alternative) -> str:
    return token.token.replace("▁", " ")


def _usage(answer: _Answer) -> Usage | None:
    """None when the answer holds no tokens, only texts."""
    prompt = len(answer.prompt.tokens)
    completion = sum(len(completion.data.tokens or ()) for completion in answer.completions)
    return Usage(prompt, completion) if prompt or completion else None
