"""Streams as bytes: whatever the pieces, the client gets the same events, once, and the end mark last."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_serving.proxy.errors import Unavailable
from model_serving.proxy.sse import DONE, MAX_EVENT_BYTES, EventSplitter, PassThrough
from model_serving.proxy.usage import Usage

ONE = b'data: {"choices":[{"delta":{"content":"a\\n\\nb"}}]}\n\n'
NULL = b'data: {"choices":[{}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
SPACED = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
MIXED = b'data: {"choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'


def run(data: bytes, hide: bool = True, cuts: list[int] | None = None) -> tuple[bytes, PassThrough]:
    stream = PassThrough(hide_usage=hide)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts or []), len(data)]
    out = b"".join(stream.feed(data[a:b]) for a, b in pairwise(edges))
    return out + stream.close(), stream


@pytest.mark.parametrize(
    ("data", "hide", "expected"),
    [
        pytest.param(ONE + DONE, True, ONE + DONE, id="plain events pass"),
        pytest.param(ONE + NULL + USAGE + DONE, True, ONE + NULL + DONE, id="usage alone is hidden when we asked"),
        pytest.param(ONE + SPACED + DONE, True, ONE + DONE, id="also with blanks in the JSON"),
        pytest.param(ONE + USAGE + DONE, False, ONE + USAGE + DONE, id="usage is shown when the client asked"),
        pytest.param(MIXED + DONE, True, MIXED + DONE, id="usage with choices is never hidden"),
        pytest.param(b": hi\n\nevent: x\nid: 1\n" + ONE + DONE, True, ONE + DONE, id="other lines are left out"),
        pytest.param((ONE + DONE).replace(b"\n", b"\r\n"), True, ONE + DONE, id="CRLF"),
        pytest.param((ONE + DONE).replace(b"\n", b"\r"), True, ONE + DONE, id="CR"),
        pytest.param(ONE + b"\n\n\n" + ONE + DONE, True, ONE + ONE + DONE, id="blank lines in between"),
        pytest.param(b"data:[DONE]\n\n", True, DONE, id="end mark without a blank"),
        pytest.param(DONE + ONE, True, DONE, id="nothing after the end mark"),
        pytest.param(ONE + b"data: [DONE]", True, ONE + DONE, id="end mark without its blank line"),
        pytest.param(b"data: a\ndata: b\n\n" + DONE, True, b"data: a\ndata: b\n\n" + DONE, id="two data lines"),
        pytest.param(b'data: "[DONE]"\n\n' + DONE, True, b'data: "[DONE]"\n\n' + DONE, id="the words in a string"),
        pytest.param(ONE, True, ONE, id="no end mark, none made"),
        pytest.param(b'data: {"usage":{broken\n\n' + DONE, True, b'data: {"usage":{broken\n\n' + DONE, id="not JSON"),
        pytest.param(b"", True, b"", id="nothing"),
    ],
)
def test_what_the_client_gets(data: bytes, hide: bool, expected: bytes) -> None:
    out, stream = run(data, hide)
    assert out == expected
    assert stream.complete == (DONE in expected)
    assert run(data, hide, list(range(len(data))))[0] == expected  # byte by byte


@given(
    st.lists(st.sampled_from([ONE, NULL, USAGE, SPACED, MIXED, b": c\n\n", b"event: e\n" + ONE]), max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 1000), max_size=12),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_pieces_make_no_difference(events: list[bytes], ending: bytes, cuts: list[int], hide: bool) -> None:
    data = (b"".join(events) + DONE).replace(b"\n", ending)
    whole, first = run(data, hide)
    pieces, second = run(data, hide, cuts)
    assert pieces == whole
    assert first.usage == second.usage
    assert second.complete
    for event in pieces.split(b"\n\n")[:-2]:
        json.loads(event.removeprefix(b"data:"))


def test_the_last_usage_counts() -> None:
    assert run(MIXED + USAGE + DONE)[1].usage == Usage(3, 4)
    assert run(b'data: {"usage":{"prompt_tokens":3,"completion_tokens":null}}\n\n')[1].usage == Usage(3, 0)


def test_the_end_mark_is_held_back_until_the_transfer_has_ended() -> None:
    stream = PassThrough(hide_usage=True)
    assert stream.feed(ONE + DONE) == ONE
    assert stream.complete
    assert stream.close() == DONE


def test_an_event_without_end_is_given_up() -> None:
    splitter = EventSplitter()
    with pytest.raises(Unavailable):
        for _ in range(20):
            splitter.feed(b"x" * (MAX_EVENT_BYTES // 10))


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_a_huge_event_in_many_pieces_is_not_copied_again_and_again(ending: bytes) -> None:
    splitter = EventSplitter()
    most = 0
    for _ in range(10_000):
        assert splitter.feed(b"x" * 100) == b""
        most = max(most, len(splitter._pieces))
    assert 4096 <= most <= 4097
    out = b"".join(splitter.feed(bytes([byte])) for byte in ending + b"y")
    assert out == b"x" * 1_000_000 + b"\n\n"
    assert splitter.close() == b"y\n\n"
    assert splitter.close() == b""


def test_events_are_never_handed_out_in_halves() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n") == b""
    assert splitter.feed(b"\ndata: b") == b"data: a\n\n"
    assert splitter.close() == b"data: b\n\n"
