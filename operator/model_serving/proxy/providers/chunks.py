"""Streams in OpenAI's format: the events of a chat or text completion. Written by all dialects that translate. Pure.

Most events carry a piece of text: only that is encoded, between bytes that are made once per stream; an event made
of structs takes three times as long.

Reference: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from model_serving.proxy.call import COMPLETIONS
from model_serving.proxy.providers.answers import Thought, in_parts, reasoning_part, usage_object
from model_serving.proxy.providers.base import Asked
from model_serving.proxy.providers.openai_dialect import asks_usage
from model_serving.proxy.usage import Usage

_encode = msgspec.json.Encoder().encode


class Chunks:
    """Writes the events of one stream; each method gives the bytes of what it tells.

    `id` and `model` are the vendor's, where it tells them: set both with `begin` before anything else. `choice` is the
    number of the choice, `call` the number of a tool call within it, from 0.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._text = asked.call.task == COMPLETIONS
        self._in_parts = in_parts(asked)
        self._counts = asks_usage(asked.call.fields)
        self._begun: set[int] = set()
        self._head = b""
        self._before: list[bytes] = []
        self.begin(asked.id, asked.model)

    def begin(self, id: str, model: str) -> None:
        """Who answers: what each event repeats. Empty: not told."""
        asked = self._asked
        self._head = b'data: {"id":%b,"object":"%b","created":%d,"model":%b,"choices":[' % (
            _encode(id or asked.id),
            b"text_completion" if self._text else b"chat.completion.chunk",
            asked.created,
            _encode(model or asked.model),
        )
        self._before.clear()

    def text(self, piece: str, choice: int = 0) -> bytes:
        """A piece of text."""
        if self._text:
            return self._event(
                b'{"index":%d,"text":%b,"logprobs":null,"finish_reason":null}' % (choice, _encode(piece))
            )
        if choice == 0 and 0 in self._begun:
            if not self._before:
                self._before.append(self._head + b'{"index":0,"delta":{"content":')
            return self._before[0] + _encode(piece) + b'},"logprobs":null,"finish_reason":null}]}\n\n'
        return self._delta({"content": piece}, choice)

    def thought(self, thought: Thought, choice: int = 0) -> bytes:
        """A piece of a thought, its signature, or one that cannot be read."""
        if self._text:
            return b""
        if self._in_parts:
            return self._delta({"content": [reasoning_part(thought)]}, choice)
        return self._delta({"reasoning_content": thought.text}, choice) if thought.text else b""

    def refusal(self, piece: str, choice: int = 0) -> bytes:
        """A piece of a refusal."""
        return self._delta({"refusal": piece}, choice)

    def call(self, call: int, id: str, name: str, choice: int = 0, extra: msgspec.Raw | None = None) -> bytes:
        """A tool call begins. `extra` as in `chat.ToolCall.extra_content`."""
        told = {"index": call, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        if extra is not None:
            told["extra_content"] = extra
        return self._delta({"tool_calls": [told]}, choice)

    def arguments(self, call: int, piece: str, choice: int = 0) -> bytes:
        """A piece of a tool call's arguments."""
        return self._delta({"tool_calls": [{"index": call, "function": {"arguments": piece}}]}, choice)

    def logprobs(self, piece: str, logprobs: msgspec.Raw, choice: int = 0) -> bytes:
        """A piece of text with the logarithms of its probabilities."""
        return self._begun_with(choice) + self._event(
            b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null}'
            % (choice, _encode({"content": piece}), bytes(logprobs))
        )

    def finish(self, reason: str, choice: int = 0) -> bytes:
        """A choice has ended."""
        nothing = b'"text":""' if self._text else b'"delta":{}'
        body = b'{"index":%d,%b,"logprobs":null,"finish_reason":%b}' % (choice, nothing, _encode(reason))
        return self._begun_with(choice) + self._event(body)

    def usage(self, usage: Usage | None) -> bytes:
        """The last event, if the client wants it."""
        if not self._counts or usage is None:
            return b""
        return b'%b],"usage":%b}\n\n' % (self._head, _encode(usage_object(usage)))

    def _delta(self, delta: dict[str, Any], choice: int) -> bytes:
        return self._begun_with(choice) + self._event(
            b'{"index":%d,"delta":%b,"logprobs":null,"finish_reason":null}' % (choice, _encode(delta))
        )

    def _begun_with(self, choice: int) -> bytes:
        """A choice's first event names the role."""
        if choice in self._begun or self._text:
            return b""
        self._begun.add(choice)
        return self._event(
            b'{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}' % choice
        )

    def _event(self, choice: bytes) -> bytes:
        return b"%b%b]}\n\n" % (self._head, choice)
