"""Answers in OpenAI's shapes, made from the request alone: the same request gives the same words, tokens and vectors.

Called by `server.py`; pure: identity and time of an answer are arguments.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from model_serving.demo_provider.wishes import Wish, without_markers

Json = dict[str, Any]

_TOKEN = re.compile(r"\w+|[^\w\s]")
_DEFAULT_DIMENSIONS = 1536
_MOST_DIMENSIONS = 8192
_MOST_CHOICES = 5


class BadRequestError(ValueError):
    """A request that OpenAI would refuse with 400; `param` names the field."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whole and in events; `events` makes the chunks of a stream, usage included where asked for."""

    whole: Json
    events: Callable[[], Iterator[Json]]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells answers apart: id without prefix, seconds since 1970."""

    id: str
    created: int


def count_tokens(text: str) -> int:
    """Tokens of `text`: words and punctuation marks."""
    return len(_TOKEN.findall(text))


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def last_text(body: Json) -> str:
    """The text that is echoed and searched for markers, whatever the task."""
    messages = body.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return content_text(messages[-1].get("content"))
    prompt = body.get("prompt", body.get("input", ""))
    if isinstance(prompt, list):
        prompt = prompt[-1] if prompt else ""
    return prompt if isinstance(prompt, str) else ""


def answer_chat(body: Json, wish: Wish, stamp: Stamp) -> Answer:
    """A chat completion. Raises `BadRequestError`."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadRequestError("'messages' must be a list of messages, at least one", "messages")
    call = _tool_call(body, stamp)
    words, finish = ([], "tool_calls") if call else _limited(_words(body, wish), body)
    usage = _usage(sum(count_tokens(content_text(m.get("content"))) for m in messages), words, _choices(body))
    base = {"id": f"chatcmpl-{stamp.id}", "created": stamp.created, "model": body["model"]}
    message: Json = {"role": "assistant", "content": "".join(words), "refusal": None}
    if call:
        message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
    whole = {
        **base,
        "object": "chat.completion",
        "choices": [
            {"index": i, "message": message, "logprobs": None, "finish_reason": finish} for i in range(_choices(body))
        ],
        "usage": usage,
    }
    first: Json = {"role": "assistant", "content": "" if not call else None}
    tail: list[Json] = [{"tool_calls": [{"index": 0, **call}]}] if call else [{"content": word} for word in words]

    def chunk(index: int, delta: Json, finish_reason: str | None = None) -> Json:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def events() -> Iterator[Json]:
        head = {**base, "object": "chat.completion.chunk"}
        for index in range(_choices(body)):
            for delta in (first, *tail):
                yield {**head, "choices": [chunk(index, delta)]}
            yield {**head, "choices": [chunk(index, {}, finish)]}
        yield from _usage_event(head, body, usage)

    return Answer(whole, events)


def answer_completion(body: Json, wish: Wish, stamp: Stamp) -> Answer:
    """A text completion. Raises `BadRequestError`."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str | list):
        raise BadRequestError("'prompt' must be a string or a list", "prompt")
    words, finish = _limited(_words(body, wish), body)
    usage = _usage(sum(_input_tokens(item) for item in _items(prompt)), words, _choices(body))
    head = {"id": f"cmpl-{stamp.id}", "object": "text_completion", "created": stamp.created, "model": body["model"]}

    def choice(index: int, text: str, finish_reason: str | None = None) -> Json:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}

    def events() -> Iterator[Json]:
        for index in range(_choices(body)):
            for word in words:
                yield {**head, "choices": [choice(index, word)]}
            yield {**head, "choices": [choice(index, "", finish)]}
        yield from _usage_event(head, body, usage)

    choices = [choice(i, "".join(words), finish) for i in range(_choices(body))]
    return Answer({**head, "choices": choices, "usage": usage}, events)


def answer_embeddings(body: Json) -> Json:
    """Embeddings: unit vectors that depend on the text alone. Raises `BadRequestError`."""
    given = body.get("input")
    if not isinstance(given, str | list) or not given:
        raise BadRequestError("'input' must be a string or a list, not empty", "input")
    dimensions = body.get("dimensions", _DEFAULT_DIMENSIONS)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise BadRequestError(f"'dimensions' must be a number from 1 to {_MOST_DIMENSIONS}", "dimensions")
    items = _items(given)
    encode = _base64 if body.get("encoding_format") == "base64" else list
    tokens = sum(_input_tokens(item) for item in items)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": encode(unit_vector(json.dumps(item), dimensions))}
            for i, item in enumerate(items)
        ],
        "model": body["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 in a direction that `text` determines."""
    digest = hashlib.shake_256(text.encode()).digest(4 * dimensions)
    raw = [value / 2**31 - 1 + 2**-32 for value in struct.unpack(f"<{dimensions}I", digest)]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _items(given: str | list[Any]) -> list[Any]:
    """One entry per text: a list of numbers is one text in tokens."""
    if isinstance(given, str) or (given and all(isinstance(item, int) for item in given)):
        return [given]
    return list(given)


def _input_tokens(item: Any) -> int:
    return len(item) if isinstance(item, list) else count_tokens(str(item))


def _choices(body: Json) -> int:
    n = body.get("n")
    return max(1, min(n, _MOST_CHOICES)) if isinstance(n, int) else 1


def _words(body: Json, wish: Wish) -> list[str]:
    if wish.events is not None:
        return [f"word-{i} " for i in range(1, wish.events + 1)]
    text = without_markers(last_text(body)) or "nothing"
    return re.findall(r"\S+\s*", f"You said: {text}")


def _limited(words: list[str], body: Json) -> tuple[list[str], str]:
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(most, int) and 0 <= most < len(words):
        return words[:most], "length"
    return words, "stop"


def _usage(prompt_tokens: int, words: list[str], choices: int) -> Json:
    completion = count_tokens("".join(words)) * choices
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
    }


def _usage_event(head: Json, body: Json, usage: Json) -> Iterator[Json]:
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        yield {**head, "choices": [], "usage": usage}


def _tool_call(body: Json, stamp: Stamp) -> Json | None:
    """A call of the tool that is demanded by `tool_choice`, or named in the last message."""
    functions = [t["function"] for t in body.get("tools") or [] if isinstance(t, dict) and "function" in t]
    choice = body.get("tool_choice", "auto")
    text = last_text(body)
    if isinstance(choice, dict):
        wanted = choice.get("function", {}).get("name")
        functions = [f for f in functions if f.get("name") == wanted]
    elif choice == "auto":
        functions = [f for f in functions if str(f.get("name")) in text]
    if not functions or choice == "none":
        return None
    required = (functions[0].get("parameters") or {}).get("required", [])
    arguments = json.dumps({name: without_markers(text) for name in required})
    function = {"name": functions[0].get("name"), "arguments": arguments}
    return {"id": f"call_{stamp.id}", "type": "function", "function": function}
