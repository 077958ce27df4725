"""What Gemini answers, whole and as a stream of answers, each with what is new. Used by `gemini.py`. Pure.

Answers are JSON in camelCase; gateways that keep the names of Google's own definitions send snake_case. Both are read.

Reference: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from model_serving.proxy.call import COMPLETIONS
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
from model_serving.proxy.providers.base import Asked, Reply, error_of_type, understood
from model_serving.proxy.providers.chunks import Chunks
from model_serving.proxy.providers.events import malformed
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


class _Part(_Wire):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: dict[str, Raw] | None = None
    file_data: dict[str, Raw] | None = None


class _Content(_Wire):
    parts: list[_Part] | None = None


class _Token(_Wire):
    token: str = ""
    log_probability: float | None = None


class _Top(_Wire):
    candidates: list[_Token] | None = None


class _Logprobs(_Wire):
    chosen_candidates: list[_Token] | None = None
    top_candidates: list[_Top] | None = None


class _Candidate(_Wire):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: _Logprobs | None = None

    @property
    def parts(self) -> list[_Part]:
        """What it says."""
        return (self.content.parts or []) if self.content is not None else []


class _Counts(_Wire):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None


class _Feedback(_Wire):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Answer(_Wire):
    candidates: list[_Candidate] | None = None
    usage_metadata: _Counts | None = None
    prompt_feedback: _Feedback | None = None
    response_id: str | None = None
    model_version: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer)
_decode = _decoder.decode
_encode = msgspec.json.Encoder().encode


def read_reply(provider: str, asked: Asked, body: bytes) -> Reply:
    """A whole answer. ProviderError where the model failed, Unavailable where it cannot be understood."""
    answer = understood(_decoder, in_camel_case(body))
    base = answer.response_id or asked.id
    candidates = sorted(answer.candidates or (), key=lambda candidate: candidate.index or 0)
    said = [_said(candidate, base, provider) for candidate in candidates] or [_blocked(answer)]
    usage = _usage(answer.usage_metadata)
    return write_reply(asked, said, usage, id=answer.response_id or "", model=answer.model_version or "")


def _said(candidate: _Candidate, base: str, provider: str) -> Said:
    said = Said("", thoughts=[], calls=[])
    texts = []
    for part in candidate.parts:
        _expressible(part)
        if part.function_call is not None:
            said.calls.append(_called(part, base, candidate.index or 0, len(said.calls)))
            continue
        if part.text and not part.thought:
            texts.append(part.text)
        if thought := _thought(part):
            said.thoughts.append(thought)
    said.text = "".join(texts)
    said.finish_reason = _reason(candidate, provider, bool(said.calls))
    if said.finish_reason == CONTENT_FILTER and not texts:
        said.refusal = _refusal(candidate)
    if candidate.logprobs_result is not None:
        said.logprobs = _logprobs(candidate.logprobs_result)
    return said


def _blocked(answer: _Answer) -> Said:
    """A prompt that the vendor does not answer."""
    feedback = answer.prompt_feedback
    if feedback is None or feedback.block_reason is None:
        raise Unavailable("the provider's answer holds neither candidates nor the reason why there are none")
    return Said(CONTENT_FILTER, refusal=_prompt_refusal(feedback))


class _Choice:
    """One candidate of a stream, as far as it has been told."""

    __slots__ = ("calls", "reason", "refusal", "spoke")

    def __init__(self) -> None:
        self.spoke = False
        self.calls = 0
        self.reason = ""
        self.refusal = ""


class GeminiStream:
    """Translates the events of one stream. Reasons for the end and usage are told last: the vendor may repeat them."""

    def __init__(self, provider: str, asked: Asked) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self._provider = provider
        self._asked = asked
        self._chunks = Chunks(asked)
        self._choices: dict[int, _Choice] = {}
        self._base = ""
        self._camel = False

    def event(self, name: bytes, data: bytes) -> bytes:
        """What is new. ProviderError for the vendor's, Unavailable for what cannot be understood."""
        named = data if self._camel else in_camel_case(data)
        try:
            answer = _decode(named)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _error_in(self._provider, data) or malformed(error) from None
        if answer.error is not None:
            raise _error(self._provider, {"error": answer.error})
        if not self._base:
            self._begin(answer, named is data)
        if answer.usage_metadata is not None:
            self.usage = _usage(answer.usage_metadata) or self.usage
        candidates = answer.candidates
        if not candidates:
            self._block(answer.prompt_feedback)
            return b""
        if len(candidates) == 1:
            return self._candidate(candidates[0])
        return b"".join([self._candidate(candidate) for candidate in candidates])

    def end(self) -> bytes:
        """Why each choice ended, and the usage; nothing when one has not."""
        choices = sorted(self._choices.items())
        if not choices or not all(choice.reason for _, choice in choices):
            return b""
        self.complete = True
        told = [self._finish(index, choice) for index, choice in choices]
        return b"".join(told) + self._chunks.usage(self.usage)

    def _begin(self, answer: _Answer, plain: bool) -> None:
        """Who answers; and in which case the names are, if that shows: looking for it takes longer than decoding."""
        self._base = answer.response_id or self._asked.id
        self._chunks.begin(answer.response_id or "", answer.model_version or "")
        self._camel = plain and (answer.response_id or answer.model_version or answer.usage_metadata) is not None

    def _block(self, feedback: _Feedback | None) -> None:
        """A prompt that the vendor does not answer; an event may as well hold nothing but usage."""
        if feedback is not None and feedback.block_reason is not None:
            choice = self._choices.setdefault(0, _Choice())
            choice.reason, choice.refusal = CONTENT_FILTER, _prompt_refusal(feedback)

    def _candidate(self, candidate: _Candidate) -> bytes:
        index = candidate.index or 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        if candidate.logprobs_result is not None:
            told = self._with_logprobs(candidate, index, choice)
        else:
            parts = candidate.content.parts if candidate.content is not None else None
            if not parts:
                told = b""
            elif len(parts) == 1:
                told = self._part(parts[0], index, choice)
            else:
                told = b"".join([self._part(part, index, choice) for part in parts])
        if candidate.finish_reason is not None:
            choice.reason = _reason(candidate, self._provider, choice.calls > 0)
            choice.refusal = "" if choice.spoke or choice.reason != CONTENT_FILTER else _refusal(candidate)
        return told

    def _part(self, part: _Part, index: int, choice: _Choice) -> bytes:
        text = part.text
        if text and not part.thought and part.thought_signature is None:
            choice.spoke = True
            return self._chunks.text(text, index)
        _expressible(part)
        if part.function_call is not None:
            return self._call(part, index, choice)
        told = b""
        if text and not part.thought:
            choice.spoke = True
            told = self._chunks.text(text, index)
        thought = _thought(part)
        return told + self._chunks.thought(thought, index) if thought is not None else told

    def _call(self, part: _Part, index: int, choice: _Choice) -> bytes:
        number, choice.calls = choice.calls, choice.calls + 1
        call = _called(part, self._base, index, number)
        begin = self._chunks.call(number, call.id, call.name, index, call.extra_content)
        return begin + self._chunks.arguments(number, call.arguments, index)

    def _with_logprobs(self, candidate: _Candidate, index: int, choice: _Choice) -> bytes:
        """Text in one event with its tokens; the rest as ever."""
        assert candidate.logprobs_result is not None
        spoken = [part for part in candidate.parts if part.text and not part.thought]
        text = "".join([part.text or "" for part in spoken])
        for part in spoken:
            part.text = None
        choice.spoke = choice.spoke or bool(text)
        told = self._chunks.logprobs(text, _logprobs(candidate.logprobs_result), index)
        return told + b"".join([self._part(part, index, choice) for part in candidate.parts])

    def _finish(self, index: int, choice: _Choice) -> bytes:
        refusal = b""
        if choice.refusal and self._asked.call.task != COMPLETIONS:
            refusal = self._chunks.refusal(choice.refusal, index)
        return refusal + self._chunks.finish(choice.reason, index)


def _thought(part: _Part) -> Thought | None:
    """A thought; or the signature of those before a text, which stands on the text."""
    if not part.thought and part.thought_signature is None:
        return None
    return Thought((part.text or "") if part.thought else "", part.thought_signature)


def _called(part: _Part, base: str, choice: int, number: int) -> Called:
    """A call, with an id: the vendor's, else one that no other call of any answer has."""
    call = part.function_call
    assert call is not None
    extra = None
    if part.thought_signature is not None:
        extra = Raw(b'{"google":{"thought_signature":%b}}' % _encode(part.thought_signature))
    arguments = msgspec.json.format(bytes(call.args), indent=-1).decode()
    return Called(call.id or f"{MINTED}{base}-{choice}-{number}", call.name, arguments, extra)


def _expressible(part: _Part) -> None:
    if part.inline_data is not None or part.file_data is not None:
        raise Unavailable("the provider's answer holds an image or other media, which a chat answer cannot express")


def _reason(candidate: _Candidate, provider: str, calls: bool) -> str:
    told = candidate.finish_reason or "STOP"
    if told in BROKEN:
        message = candidate.finish_message or f"the model's answer is broken: {told}"
        raise ProviderError(provider, 500, {"error": {"message": message, "status": told}})
    reason = FINISH_REASONS.get(told, CONTENT_FILTER)
    return TOOL_CALLS if calls and reason == STOP else reason


def _refusal(candidate: _Candidate) -> str:
    return candidate.finish_message or f"The provider ended the answer: {candidate.finish_reason}"


def _prompt_refusal(feedback: _Feedback) -> str:
    return feedback.block_reason_message or f"The provider blocked the prompt: {feedback.block_reason}"


def _usage(counts: _Counts | None) -> Usage | None:
    """None as long as nothing is counted: first events tell only how the call is billed."""
    if counts is None:
        return None
    thoughts = counts.thoughts_token_count or 0
    prompt = (counts.prompt_token_count or 0) + (counts.tool_use_prompt_token_count or 0)
    completion = (counts.candidates_token_count or 0) + thoughts
    if not prompt and not completion:
        return None
    return Usage(prompt, completion, counts.cached_content_token_count or 0, thoughts)


def _logprobs(result: _Logprobs) -> Raw:
    """OpenAI's object of a piece of text."""
    tops = [top.candidates or [] for top in result.top_candidates or ()]
    content = []
    for number, chosen in enumerate(result.chosen_candidates or ()):
        others = tops[number] if number < len(tops) else []
        content.append(_token(chosen) | {"top_logprobs": [_token(other) for other in others]})
    return Raw(_encode({"content": content, "refusal": None}))


def _token(token: _Token) -> dict[str, Any]:
    """-9999 stands for what is nearly impossible, in OpenAI's API too."""
    logprob = -9999.0 if token.log_probability is None else token.log_probability
    return {"token": token.token, "logprob": logprob, "bytes": list(token.token.encode())}


def _error_in(provider: str, data: bytes) -> ProviderError | None:
    """The error in an event that is a list with one, as Google sends it where streams are arrays."""
    try:
        errors = msgspec.json.decode(data, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _error(provider, errors[0]) if errors and "error" in errors[0] else None


def _error(provider: str, body: dict[str, Any]) -> ProviderError:
    error = body["error"]
    code, kind = (error.get("code"), error.get("status")) if isinstance(error, dict) else (None, None)
    if isinstance(code, int) and code >= 400:
        return ProviderError(provider, code, body)
    return error_of_type(provider, kind if isinstance(kind, str) else "", body)


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
