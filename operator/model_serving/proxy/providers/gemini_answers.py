"""What Gemini answers: the vendor's words, and what they mean. Used by `gemini.py` and `gemini_stream.py`. Pure.

Answers are JSON in camelCase; gateways that keep the names of Google's own definitions send snake_case. Both are read.

Reference: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw

from model_serving.proxy.errors import ProviderError, Unavailable
from model_serving.proxy.providers.answers import (
    CONTENT_FILTER,
    LENGTH,
    STOP,
    TOOL_CALLS,
    Called,
    Said,
    Thought,
    write_reply,
)
from model_serving.proxy.providers.base import Asked, Reply, understood
from model_serving.proxy.providers.gemini_contents import MINTED
from model_serving.proxy.usage import Usage

FINISH_REASONS = {
    "STOP": STOP,
    "FINISH_REASON_UNSPECIFIED": STOP,
    "MAX_TOKENS": LENGTH,
    "CONTINUATION": LENGTH,
}
"""Why candidates end. All others are CONTENT_FILTER: the vendor ended them for a reason of its own."""
BROKEN = frozenset(
    (
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
        "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
    )
)
"""Reasons that mean that there is no answer: the model failed. Told as an error, which clients may try again."""


class _Wire(msgspec.Struct, gc=False, rename="camel"):
    """An object of the vendor's API; what is not read is not named here."""


class _FunctionCall(_Wire):
    name: str = ""
    args: Raw = Raw(b"{}")
    id: str | None = None


class Part(_Wire):
    """One piece of what is said; several kinds at once do not occur, but for a text's or a call's signature."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: dict[str, Raw] | None = None
    file_data: dict[str, Raw] | None = None


class _Content(_Wire):
    parts: list[Part] | None = None


class _Token(_Wire):
    token: str = ""
    log_probability: float | str | None = None
    """Text where JSON has no number: `-Infinity`."""


class _Top(_Wire):
    candidates: list[_Token] | None = None


class Logprobs(_Wire):
    """The tokens of a text, and those that could have stood there."""

    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_Top] | None = None


class Candidate(_Wire):
    """One choice, or what is new of it."""

    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: Logprobs | None = None

    @property
    def parts(self) -> list[Part]:
        """What it says."""
        return (self.content.parts or []) if self.content is not None else []


class Counts(_Wire):
    """Tokens; in a stream those so far."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    total_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None


class Feedback(_Wire):
    """Why the prompt has no answer."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class Answer(_Wire):
    """A whole answer, or an event of a stream."""

    candidates: list[Candidate] | None = None
    usage_metadata: Counts | None = None
    prompt_feedback: Feedback | None = None
    response_id: str | None = None
    model_version: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Answer)
decode = _decoder.decode
"""An answer from its bytes."""
_encode = msgspec.json.Encoder().encode


def read_reply(provider: str, asked: Asked, body: bytes) -> Reply:
    """A whole answer. ProviderError where the model failed, Unavailable where it cannot be understood."""
    answer = understood(_decoder, in_camel_case(body))
    base = answer.response_id or asked.id
    candidates = sorted(answer.candidates or (), key=lambda candidate: candidate.index or 0)
    said = [_said(candidate, base, provider) for candidate in candidates] or [_blocked(answer)]
    usage = usage_of(answer.usage_metadata)
    return write_reply(asked, said, usage, id=answer.response_id or "", model=answer.model_version or "")


def _said(candidate: Candidate, base: str, provider: str) -> Said:
    said = Said("", thoughts=[], calls=[])
    texts = []
    for part in candidate.parts:
        check_expressible(part)
        if part.function_call is not None:
            said.calls.append(called(part, base, candidate.index or 0, len(said.calls)))
            continue
        if part.text and not part.thought:
            texts.append(part.text)
        if thought := thought_of(part):
            said.thoughts.append(thought)
    said.text = "".join(texts)
    said.finish_reason = reason_of(candidate, provider, bool(said.calls))
    if said.finish_reason == CONTENT_FILTER and not texts:
        said.refusal = refusal_of(candidate)
    if candidate.logprobs_result is not None:
        said.logprobs = logprobs_of(candidate.logprobs_result)
    return said


def _blocked(answer: Answer) -> Said:
    """A prompt that the vendor does not answer."""
    feedback = answer.prompt_feedback
    if feedback is None or feedback.block_reason is None:
        raise Unavailable("the provider's answer holds neither candidates nor the reason why there are none")
    return Said(CONTENT_FILTER, refusal=prompt_refusal_of(feedback))


def thought_of(part: Part) -> Thought | None:
    """A thought; or the signature of those before a text, which stands on the text."""
    if not part.thought and part.thought_signature is None:
        return None
    return Thought((part.text or "") if part.thought else "", part.thought_signature)


def called(part: Part, base: str, choice: int, number: int) -> Called:
    """A call, with an id: the vendor's, else one that no other call of any answer has, and that is no longer than the
    40 characters that OpenAI takes."""
    call = part.function_call
    assert call is not None
    extra = None
    if part.thought_signature is not None:
        extra = Raw(b'{"google":{"thought_signature":%b}}' % _encode(part.thought_signature))
    arguments = "{}" if bytes(call.args) == b"null" else msgspec.json.format(bytes(call.args), indent=-1).decode()
    return Called(call.id or _minted(f"{base}-{choice}-{number}"), call.name, arguments, extra)


def _minted(place: str) -> str:
    return MINTED + blake2b(place.encode(), digest_size=12).hexdigest()


def check_expressible(part: Part) -> None:
    """Unavailable for what has no place in our answers."""
    if part.inline_data is not None or part.file_data is not None:
        raise Unavailable("the provider's answer holds an image or other media, which a chat answer cannot express")


def reason_of(candidate: Candidate, provider: str, calls: bool) -> str:
    """Why a candidate ended. ProviderError where the model failed."""
    told = candidate.finish_reason or "STOP"
    if told in BROKEN:
        message = candidate.finish_message or f"the model's answer is broken: {told}"
        raise ProviderError(provider, 500, {"error": {"message": message, "status": told}})
    reason = FINISH_REASONS.get(told, CONTENT_FILTER)
    return TOOL_CALLS if calls and reason == STOP else reason


def refusal_of(candidate: Candidate) -> str:
    """Why an answer was ended before a word was said."""
    return candidate.finish_message or f"The provider ended the answer: {candidate.finish_reason}"


def prompt_refusal_of(feedback: Feedback) -> str:
    """Why a prompt has no answer."""
    return feedback.block_reason_message or f"The provider blocked the prompt: {feedback.block_reason}"


def usage_of(counts: Counts | None) -> Usage | None:
    """What was used; None as long as nothing is counted: first events tell only how the call is billed."""
    if counts is None:
        return None
    thoughts = counts.thoughts_token_count or 0
    prompt = (counts.prompt_token_count or 0) + (counts.tool_use_prompt_token_count or 0)
    candidates = counts.candidates_token_count or 0
    held = thoughts and counts.total_token_count == prompt + candidates  # some models count thoughts as spoken, too
    completion = candidates if held else candidates + thoughts
    if not prompt and not completion:
        return None
    return Usage(prompt, completion, counts.cached_content_token_count or 0, thoughts)


def logprobs_of(result: Logprobs) -> Raw:
    """OpenAI's object of a piece of text."""
    tops = [top.candidates or [] for top in result.top_candidates or ()]
    content = []
    for number, chosen in enumerate(result.chosen_candidates or ()):
        others = tops[number] if number < len(tops) else []
        content.append(_token(chosen) | {"top_logprobs": [_token(other) for other in others]})
    return Raw(_encode({"content": content, "refusal": None}))


def _token(token: _Token) -> dict[str, Any]:
    """-9999 stands for what is nearly impossible, in OpenAI's API too."""
    logprob = token.log_probability if isinstance(token.log_probability, float) else -9999.0
    return {"token": token.token, "logprob": logprob, "bytes": list(token.token.encode())}


# Names in snake_case

_WORD = re.compile(r"_([a-z])")


def in_camel_case(data: bytes) -> bytes:
    """An answer with the names that are read above. Only one that looks like snake_case is rewritten."""
    if not (
        b'"finish_reason"' in data
        or b'"usage_metadata"' in data
        or b'"function_call"' in data
        or b'"thought_signature"' in data
        or b'"prompt_feedback"' in data
    ):
        return data
    try:
        return _encode(_renamed(msgspec.json.decode(data)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data  # whoever reads it says what is wrong


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        _WORD.sub(lambda found: found.group(1).upper(), name): inner if name == "args" else _renamed(inner)
        for name, inner in value.items()
    }
