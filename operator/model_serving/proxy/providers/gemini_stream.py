"""Gemini's streams: each event is an answer with what is new. Used by `gemini.py`. Pure.

Reference: https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse
"""

from __future__ import annotations

from typing import Any

import msgspec

from model_serving.proxy.call import COMPLETIONS
from model_serving.proxy.errors import ProviderError
from model_serving.proxy.providers.answers import CONTENT_FILTER
from model_serving.proxy.providers.base import Asked, error_of_type
from model_serving.proxy.providers.chunks import Chunks
from model_serving.proxy.providers.events import malformed
from model_serving.proxy.providers.gemini_answers import (
    Answer,
    Candidate,
    Feedback,
    Part,
    called,
    check_expressible,
    decode,
    in_camel_case,
    logprobs_of,
    prompt_refusal_of,
    reason_of,
    refusal_of,
    thought_of,
    usage_of,
)
from model_serving.proxy.usage import Usage


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
            answer = decode(named)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _error_in(self._provider, data) or malformed(error) from None
        if answer.error is not None:
            raise _error(self._provider, {"error": answer.error})
        if not self._base:
            self._begin(answer, named is data)
        if answer.usage_metadata is not None:
            self.usage = usage_of(answer.usage_metadata) or self.usage
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

    def _begin(self, answer: Answer, plain: bool) -> None:
        """Who answers; and in which case the names are, if that shows: looking for it takes longer than decoding."""
        self._base = answer.response_id or self._asked.id
        self._chunks.begin(answer.response_id or "", answer.model_version or "")
        self._camel = plain and (answer.response_id or answer.model_version or answer.usage_metadata) is not None

    def _block(self, feedback: Feedback | None) -> None:
        """A prompt that the vendor does not answer; an event may as well hold nothing but usage."""
        if feedback is not None and feedback.block_reason is not None:
            choice = self._choices.setdefault(0, _Choice())
            choice.reason, choice.refusal = CONTENT_FILTER, prompt_refusal_of(feedback)

    def _candidate(self, candidate: Candidate) -> bytes:
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
            choice.reason = reason_of(candidate, self._provider, choice.calls > 0)
            choice.refusal = "" if choice.spoke or choice.reason != CONTENT_FILTER else refusal_of(candidate)
        return told

    def _part(self, part: Part, index: int, choice: _Choice) -> bytes:
        text = part.text
        if text and not part.thought and part.thought_signature is None:
            choice.spoke = True
            return self._chunks.text(text, index)
        check_expressible(part)
        if part.function_call is not None:
            return self._call(part, index, choice)
        told = b""
        if text and not part.thought:
            choice.spoke = True
            told = self._chunks.text(text, index)
        thought = thought_of(part)
        return told + self._chunks.thought(thought, index) if thought is not None else told

    def _call(self, part: Part, index: int, choice: _Choice) -> bytes:
        number, choice.calls = choice.calls, choice.calls + 1
        call = called(part, self._base, index, number)
        begin = self._chunks.call(number, call.id, call.name, index, call.extra_content)
        return begin + self._chunks.arguments(number, call.arguments, index)

    def _with_logprobs(self, candidate: Candidate, index: int, choice: _Choice) -> bytes:
        """Text in one event with its tokens; the rest as ever."""
        assert candidate.logprobs_result is not None
        spoken = [part for part in candidate.parts if part.text and not part.thought]
        text = "".join([part.text or "" for part in spoken])
        for part in spoken:
            part.text = None
        choice.spoke = choice.spoke or bool(text)
        told = self._chunks.logprobs(text, logprobs_of(candidate.logprobs_result), index)
        return told + b"".join([self._part(part, index, choice) for part in candidate.parts])

    def _finish(self, index: int, choice: _Choice) -> bytes:
        refusal = b""
        if choice.refusal and self._asked.call.task != COMPLETIONS:
            refusal = self._chunks.refusal(choice.refusal, index)
        return refusal + self._chunks.finish(choice.reason, index)


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
