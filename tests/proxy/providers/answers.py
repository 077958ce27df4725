"""Answers as the official openai package reads them, and in one form whether they came whole or as a stream."""

from __future__ import annotations

import base64
import copy
import json
import struct
from typing import Any

import pydantic
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

Message = dict[str, Any]


def events_of(stream: bytes) -> list[Any]:
    """A stream's events; only `data:` and blank lines are allowed, and the end mark where no error ended it."""
    events = stream.split(b"\n\n")
    assert events.pop() == b"", "the last event has no blank line"
    assert all(event.startswith(b"data: ") and b"\n" not in event for event in events), "more than data: lines"
    bodies = [event.removeprefix(b"data: ") for event in events]
    if bodies and bodies[-1] == b"[DONE]":
        return [json.loads(body) for body in bodies[:-1]]
    told = [json.loads(body) for body in bodies]
    assert told and "error" in told[-1], "neither an end mark nor an error ends the stream"
    return told


def read_whole(task: str, body: Any) -> pydantic.BaseModel:
    """A whole answer, strictly after the package's types, but for Databricks' list of thoughts and text."""
    body = copy.deepcopy(body)
    if task == "embeddings":
        for item in body["data"]:
            if isinstance(item["embedding"], str):
                raw = base64.b64decode(item["embedding"], validate=True)
                item["embedding"] = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        return CreateEmbeddingResponse.model_validate(body, strict=True)
    if task == "completions":
        return Completion.model_validate(body, strict=True)
    for choice in body["choices"]:
        if isinstance(choice["message"]["content"], list):
            choice["message"]["content"] = _content(choice["message"]["content"])["text"]
    return ChatCompletion.model_validate(body, strict=True)


def read_events(task: str, events: list[Any]) -> list[pydantic.BaseModel]:
    """Each event, strictly after the package's types; and the package puts the same text together as we do."""
    if task == "completions":
        whole = [event | {"choices": [_completed(choice) for choice in event["choices"]]} for event in events]
        return [Completion.model_validate(event, strict=True) for event in whole]
    plain = [_in_text(event) for event in events]
    chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in plain]
    if plain == events:
        _put_together(chunks, joined(events)["choices"])
    return [*chunks]


def _in_text(event: Any) -> Any:
    """An event without Databricks' list."""
    event = copy.deepcopy(event)
    for choice in event["choices"]:
        if isinstance(choice["delta"].get("content"), list):
            choice["delta"]["content"] = _content(choice["delta"]["content"])["text"]
    return event


def _put_together(chunks: list[ChatCompletionChunk], ours: list[Message]) -> None:
    state = ChatCompletionStreamState()
    for chunk in chunks:
        if chunk.choices:
            state.handle_chunk(chunk)
    theirs = sorted(state.current_completion_snapshot.choices, key=lambda choice: choice.index) if ours else []
    for choice, own in zip(theirs, ours, strict=True):
        assert (choice.message.content or "") == own["text"]
        assert [call.function.arguments for call in choice.message.tool_calls or []] == own["arguments"]


def _completed(choice: Message) -> Message:
    """The package types the pieces of a completion like a whole one, whose reason cannot be missing."""
    return choice | {"finish_reason": choice["finish_reason"] or "stop"}


def said(body: Message) -> Message:
    """A whole answer in the form of `joined`."""
    if body["object"] == "text_completion":
        return {"model": body["model"], "choices": [_text_choice(choice) for choice in body["choices"]]}
    return {"model": body["model"], "choices": [_choice(choice, choice["message"]) for choice in body["choices"]]}


def joined(events: list[Any]) -> Message:
    """The answer that a stream's events come to."""
    messages: dict[int, Message] = {}
    choices: dict[int, Message] = {}
    for event in events:
        for piece in event["choices"]:
            choice = choices.setdefault(piece["index"], {"index": piece["index"], "text": ""})
            choice["text"] += piece.get("text", "")
            choice["finish_reason"] = piece["finish_reason"] or choice.get("finish_reason")
            if piece.get("logprobs"):
                _add_logprobs(choice, piece["logprobs"])
            _add(messages.setdefault(piece["index"], {"content": []}), piece.get("delta", {}))
    model = next((event["model"] for event in reversed(events)), None)  # Azure's first event names none
    ordered = [choices[index] for index in sorted(choices)]
    if events and events[0]["object"] == "text_completion":
        return {"model": model, "choices": [_text_choice(choice) for choice in ordered]}
    return {"model": model, "choices": [_choice(choice, messages[choice["index"]]) for choice in ordered]}


def usage_of(events: list[Any]) -> Any:
    """The usage that a stream tells last."""
    return next((event["usage"] for event in reversed(events) if event.get("usage")), None)


def _add_logprobs(choice: Message, logprobs: Message) -> None:
    told = choice.setdefault("logprobs", {})
    for name, values in logprobs.items():
        told[name] = (told.get(name) or []) + values if isinstance(values, list) else told.get(name)


def _add(message: Message, delta: Message) -> None:
    content = delta.get("content") or []
    message["content"] += [{"type": "text", "text": content}] if isinstance(content, str) else content
    for name in ("refusal", "reasoning_content"):
        if delta.get(name):
            message[name] = message.get(name, "") + delta[name]
    calls = message.setdefault("tool_calls", [])
    for call in delta.get("tool_calls") or []:
        if call["index"] == len(calls):
            calls.append({"function": {"name": "", "arguments": ""}})
        told = calls[call["index"]]
        for name in ("name", "arguments"):
            told["function"][name] += call.get("function", {}).get(name) or ""
        told.update({name: call[name] for name in ("id", "type", "extra_content") if name in call})


def _text_choice(choice: Message) -> Message:
    return {name: choice.get(name) or None for name in ("index", "text", "finish_reason", "logprobs")}


def _choice(choice: Message, message: Message) -> Message:
    calls = message.get("tool_calls") or []
    return {
        "index": choice["index"],
        "finish_reason": choice["finish_reason"],
        "logprobs": choice.get("logprobs") or None,
        **_content(message.get("content")),
        "refusal": message.get("refusal") or None,
        "reasoning_content": message.get("reasoning_content") or None,
        "arguments": [call["function"]["arguments"] for call in calls],
        "calls": [_call(call) for call in calls],
    }


def _call(call: Message) -> Message:
    told = {name: call.get(name) for name in ("id", "type", "extra_content")}
    return told | {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}


def _content(content: Any) -> Message:
    """Text, and Databricks' thoughts: a thought goes on until its signature."""
    parts = [{"type": "text", "text": content or ""}] if not isinstance(content, list) else content
    thoughts: list[Message] = []
    for part in parts:
        for thought in part.get("summary", ()):
            last = thoughts[-1] if thoughts else {"data": ""}
            if "data" in thought or "data" in last or "signature" in last:
                thoughts.append(dict(thought))
            else:
                last["text"] += thought.get("text", "")
                last.update({name: thought[name] for name in ("signature",) if name in thought})
    return {"text": "".join(part.get("text", "") for part in parts), "thoughts": thoughts}
