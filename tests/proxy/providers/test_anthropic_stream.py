"""Anthropic's streams: what is not in the golden cases, and what a broken vendor may send."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from model_serving.proxy.call import CHAT, COMPLETIONS, Call
from model_serving.proxy.errors import ProviderError, Unavailable
from model_serving.proxy.providers.anthropic_complete import Complete
from model_serving.proxy.providers.anthropic_messages import Messages
from model_serving.proxy.providers.base import Asked
from model_serving.proxy.sse import StreamTranslator
from tests.proxy.providers.answers import events_of, joined
from tests.proxy.providers.vendors.anthropic import event_of, message_of, stream_of, text, tool_use

MESSAGE = stream_of(message_of(text("hello, you all out there"), tool_use("t", "f", a=1), stop_reason="tool_use"))
UNKNOWN = [
    {"type": "weather_report", "delta": "sunny", "index": "north"},
    {"type": "content_block_start", "index": 7, "content_block": {"type": "dream", "text": "sheep"}},
    {"type": "content_block_delta", "index": 7, "delta": {"type": "dream_delta", "text": "sheep"}},
    {"type": "content_block_delta", "index": 7, "delta": {"type": "input_json_delta", "partial_json": "{"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"type": "x"}}},
    {"type": "content_block_stop", "index": 7},
    {"type": "ping"},
]


def stream(task: str = CHAT) -> StreamTranslator:
    asked = Asked(Call(task, {"stream_options": msgspec.Raw(b'{"include_usage":true}')}, True), "claude", "r", 1)
    return (
        Complete("anthropic", "claude").stream(asked)
        if task == COMPLETIONS
        else Messages("anthropic", "").stream(asked)
    )


def told(raw: bytes, task: str = CHAT) -> bytes:
    found = stream(task)
    return found.feed(raw) + found.close()


def error(kind: str) -> bytes:
    return event_of({"type": "error", "error": {"type": kind, "message": "words"}})


@pytest.mark.parametrize("event", UNKNOWN, ids=lambda event: json.dumps(event)[:60])
def test_what_is_not_known_is_left_out(event: Any) -> None:
    first = MESSAGE.index(b"\n\n") + 2
    assert told(MESSAGE[:first] + event_of(event) + MESSAGE[first:]) == told(MESSAGE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(rb"event: \S+\n", b"", id="no names"),
        pytest.param(rb"event: ", b"event:", id="no blank"),
        pytest.param(rb"data: ", b"data:", id="no blank before data"),
        pytest.param(rb"\n", b"\r\n", id="line ends of Windows"),
        pytest.param(rb"event: ping\n", b": a comment\nevent: ping\nid: 5\n", id="other lines"),
        pytest.param(rb"(event: \S+)\n(data: .*)\n", rb"\2\n\1\n", id="the name last"),
        pytest.param(rb', "index"', b',\ndata: "index"', id="data on two lines"),
    ],
)
def test_events_may_be_written_in_other_ways(before: bytes, after: bytes) -> None:
    other = re.sub(before, after, MESSAGE)
    assert other != MESSAGE
    assert told(other) == told(MESSAGE)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("overloaded_error", 503),
        ("timeout_error", 504),
        ("something_new", 500),
    ],
)
@pytest.mark.parametrize("task", [CHAT, COMPLETIONS])
def test_an_error_amid_a_stream_has_the_status_that_it_has_elsewhere(kind: str, status: int, task: str) -> None:
    with pytest.raises(ProviderError, match="words") as caught:
        stream(task).feed(error(kind))
    assert caught.value.status == status


@pytest.mark.parametrize(
    "data", [b'{"type":"error"}', b'{"type":"error","error":"words"}', b'{"type":"error","error":5}']
)
@pytest.mark.parametrize("task", [CHAT, COMPLETIONS])
def test_an_odd_error_is_an_error(data: bytes, task: str) -> None:
    with pytest.raises(ProviderError) as caught:
        stream(task).feed(b"event: error\ndata: %b\n\n" % data)
    assert caught.value.status == 500


@pytest.mark.parametrize(
    "data",
    [
        b"no JSON",
        b'{"no":"type"}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":5}}',
        b'{"type":"message_start","message":{"usage":{"input_tokens":"many"}}}',
        b'{"type":"message_stop"',
        b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"\xff"}}',
    ],
)
def test_an_event_that_is_not_as_the_api_says_ends_the_stream(data: bytes) -> None:
    with pytest.raises(Unavailable, match="not what its API says"):
        stream().feed(b"data: %b\n\n" % data)


def test_a_stream_without_its_end_mark_is_not_complete() -> None:
    found = stream()
    found.feed(MESSAGE[: MESSAGE.index(b"event: message_stop")])
    assert b"[DONE]" not in found.close()
    assert not found.complete
    assert found.usage is not None and found.usage.completion_tokens == 34, "what was told so far counts"


def test_what_follows_the_end_mark_is_nobodys() -> None:
    assert told(MESSAGE + error("api_error")) == told(MESSAGE)


def test_counts_are_cumulative_and_may_be_told_again() -> None:
    first = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 1}
    found = stream()
    found.feed(event_of({"type": "message_start", "message": {"id": "m", "model": "c", "usage": first}}))
    for usage in ({"output_tokens": 7}, {"input_tokens": 6, "cache_read_input_tokens": 3, "output_tokens": 9}):
        found.feed(event_of({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}))
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.cache_written_tokens) == (11, 9, 2)


def test_arguments_may_come_with_the_beginning_of_a_call() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": tool_use("t", "f", a=1)}
    raw = event_of(start) + event_of({"type": "content_block_stop", "index": 0}) + event_of({"type": "message_stop"})
    (choice,) = joined(events_of(told(raw)))["choices"]
    assert choice["arguments"] == ['{"a": 1}']


def test_a_completion_ends_with_its_reason() -> None:
    event = {"type": "completion", "id": "c", "completion": " hello", "model": "claude-2.1", "stop_reason": None}
    found = stream(COMPLETIONS)
    assert b'"text":" hello"' in found.feed(event_of({"type": "ping"}) + event_of(event))
    assert not found.complete
    assert b'"finish_reason":"length"' in found.feed(event_of(event | {"completion": "", "stop_reason": "max_tokens"}))
    assert found.complete and found.usage is None


def test_zeros_at_the_end_do_not_take_back_what_was_counted() -> None:
    """Compatible servers send them for what the vendor leaves out there."""
    start = {
        "type": "message_start",
        "message": {"id": "m", "usage": {"input_tokens": 9, "cache_read_input_tokens": 4}},
    }
    usage = {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5}
    found = stream()
    found.feed(
        event_of(start) + event_of({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    )
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.cached_tokens, found.usage.completion_tokens) == (13, 4, 5)
