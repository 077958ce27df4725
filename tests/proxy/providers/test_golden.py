"""Each golden case of each provider: request, answer and usage as recorded, after the vendor's and OpenAI's own types.

How cases look stands in `golden.py`; MODEL_SERVING_WRITE_GOLDEN=1 writes what the code does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from model_serving.proxy.errors import ProxyError
from model_serving.proxy.providers.registry import PROVIDERS
from tests.proxy.providers.answers import events_of, joined, read_events, read_whole, said, usage_of
from tests.proxy.providers.golden import TASKS, WRITE, Answer, Case, answered, cases, failed, requested, streamed

CASES = [pytest.param(case, id=case.name) for case in cases()]
STREAMS = [pytest.param(case, id=case.name) for case in cases() if case.raw_stream() is not None]
PAIRS = [
    pytest.param(case, stream, id=case.name)
    for case in cases()
    if (stream := Case(case.folder.with_name(f"{case.folder.name}_stream"))).has("call.json")
]


def held(case: Case, file: str, value: Any) -> None:
    """The file says this, in this order, 1 apart from 1.0; or is made to."""
    if WRITE:
        case.write(file, value)
    assert json.dumps(case.read(file), indent=1) == json.dumps(value, indent=1)


@pytest.mark.parametrize("case", CASES)
def test_the_request_is_what_the_vendor_takes(case: Case) -> None:
    request = requested(case)
    if isinstance(request, ProxyError):
        assert request.status == 400 and request.parameter, request.message
        assert not case.has("reply.json") and case.raw_stream() is None, request.message
        held(case, "answer.json", {"status": 400, "body": failed(request).whole["body"]})
        return
    for body in request["bodies"]:
        case.vendor.accept_request(case.task, case.stream, request["path"], body)
    held(case, "request.json", request)


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_what_the_client_reads(case: Case) -> None:
    request = requested(case)
    if isinstance(request, ProxyError):
        return
    _accepted(case, len(request["bodies"]) > 1)
    answer = answered(case)
    held(case, "usage.json", answer.usage)
    if answer.stream is None:
        held(case, "answer.json", answer.whole)
        if answer.error is None:
            read_whole(case.task, answer.whole)
        return
    if WRITE:
        (case.folder / "answer.sse").write_bytes(answer.stream)
    assert answer.stream == (case.folder / "answer.sse").read_bytes()
    events = events_of(answer.stream)
    read_events(case.task, events if answer.error is None else events[:-1])


def _accepted(case: Case, several: bool) -> None:
    """What the vendor answers is made of its own types."""
    raw = case.raw_stream()
    if raw is not None:
        case.vendor.accept_stream(case.task, raw)
    elif case.has("reply.json"):
        reply = case.read("reply.json")
        for body in reply if several else [reply]:
            case.vendor.accept_reply(case.task, body)
    else:
        assert case.has("error.json"), "neither a reply nor an error"


@pytest.mark.parametrize("case", [case for case in CASES if case.values[0].dialect.features.fields is None])
def test_what_passes_through_is_untouched(case: Case) -> None:
    raw = case.raw_stream()
    if case.has("reply.json"):
        body = (case.folder / "reply.json").read_bytes()
        assert case.dialect.reply(case.heard(), [body]).body == body
    elif raw is not None and b'"usage":{' in (case.folder / "answer.sse").read_bytes():
        assert streamed(case, [raw]).stream == raw


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_may_come_in_any_pieces(case: Case) -> None:
    raw = case.raw_stream()
    assert raw is not None
    whole = streamed(case, [raw])
    assert _told(streamed(case, [raw[at : at + 1] for at in range(len(raw))])) == _told(whole)
    dice = random.Random(case.name)
    for _ in range(5):
        cuts = sorted({0, len(raw), *(dice.randrange(len(raw)) for _ in range(dice.randrange(1, 9)))})
        pieces = [raw[a:b] for a, b in pairwise(cuts)]
        assert _told(streamed(case, pieces)) == _told(whole)


def _told(answer: Answer) -> Any:
    return answer.stream, answer.usage


@pytest.mark.parametrize(("case", "stream"), PAIRS)
def test_a_stream_says_what_the_whole_answer_says(case: Case, stream: Case) -> None:
    assert stream.stream and not case.stream
    whole, told = answered(case), answered(stream)
    if told.stream is None or whole.error is not None:  # refused as a whole, before anything was said
        assert told.whole == whole.whole
        return
    events = events_of(told.stream)
    assert joined(events) == said(whole.whole)
    options = stream.asked["body"].get("stream_options") or {}
    if options.get("include_usage"):
        assert usage_of(events) == whole.whole["usage"]
        assert told.usage == whole.usage


# What each provider has to show


def _messages(case: Case) -> list[Any]:
    return list(case.asked["body"].get("messages", ()))


def _parts(case: Case) -> list[Any]:
    return [part for m in _messages(case) if isinstance(m.get("content"), list) for part in m["content"]]


def _calls(case: Case) -> int:
    """How many functions the whole answer calls."""
    answer = case.read("answer.json") if case.has("answer.json") else {}
    return max(
        (len(c["message"].get("tool_calls", ())) for c in answer.get("choices", ()) if "message" in c), default=0
    )


def _image(case: Case, data: bool) -> bool:
    urls = [part["image_url"]["url"] for part in _parts(case) if part["type"] == "image_url"]
    return any(url.startswith("data:") is data for url in urls)


def _finish(case: Case, reason: str) -> bool:
    answer = case.read("answer.json") if case.has("answer.json") else {}
    return any(choice["finish_reason"] == reason for choice in answer.get("choices", ()))


def _refused(case: Case) -> bool:
    return not case.has("request.json") and case.has("answer.json")


def _streams(case: Case) -> bool:
    return case.has("answer.sse") or (case.stream and _refused(case))


def _status(case: Case, low: int, high: int) -> bool:
    return case.has("error.json") and low <= int(case.read("error.json")["status"]) <= high


def _several(case: Case) -> bool:
    asked = case.asked["body"]["input"]
    return isinstance(asked, list) and len(asked) > 1


Shown = Callable[[Case], bool]
ALL: dict[str, Shown] = {
    "a bad request": lambda case: _status(case, 400, 400),
    "a refused credential": lambda case: _status(case, 401, 403),
    "too many requests": lambda case: _status(case, 429, 429),
    "a fault of the vendor": lambda case: _status(case, 500, 599),
}
REQUIRED: dict[str, dict[str, Shown]] = {
    "chat": ALL
    | {
        "a text": lambda case: _finish(case, "stop"),
        "a stream of text": _streams,
        "a tool called": lambda case: _calls(case) == 1,
        "tools called in parallel": lambda case: _calls(case) > 1,
        "a tool's result": lambda case: any(m["role"] == "tool" for m in _messages(case)),
        "tools called in a stream": lambda case: _streams(case) and b'"tool_calls"' in _bytes(case, "answer.sse"),
        "system": lambda case: any(m["role"] == "system" for m in _messages(case)),
        "developer": lambda case: any(m["role"] == "developer" for m in _messages(case)),
        "an image as data": lambda case: _image(case, True),
        "an image by URL": lambda case: _image(case, False),
        "structured output": lambda case: (
            (case.asked["body"].get("response_format") or {}).get("type") == "json_schema"
        ),
        "the limit of tokens": lambda case: _finish(case, "length"),
    },
    "completions": {"a text": lambda case: _finish(case, "stop"), "a stream of text": _streams},
    "embeddings": {
        "numbers": lambda case: case.has("answer.json") and "encoding_format" not in case.asked["body"],
        "base64": lambda case: case.asked["body"].get("encoding_format") == "base64",
        "several texts": _several,
    },
}
PASSED_THROUGH = ("custom", "databricks-model-serving")
"""Their dialect is OpenAI's, whose cases show the rest."""
FEW = {"a text", "a stream of text", *ALL}


def _bytes(case: Case, file: str) -> bytes:
    return (case.folder / file).read_bytes() if case.has(file) else b""


@pytest.mark.parametrize(
    ("provider", "task"),
    [
        pytest.param(name, task, id=f"{name} {task}")
        for name, provider in PROVIDERS.items()
        for task, long in TASKS.items()
        if long in provider.tasks
    ],
)
def test_each_provider_shows_each_of_its_tasks(provider: str, task: str) -> None:
    own = [case for case in cases() if case.target.provider == provider and case.task == task]
    passed = provider in PASSED_THROUGH and task == "chat"
    required = {words: shown for words, shown in REQUIRED[task].items() if not passed or words in FEW}
    missing = [words for words, shown in required.items() if not any(shown(case) for case in own)]
    assert not missing


def test_every_folder_is_a_case_of_a_provider() -> None:
    assert {case.target.provider for case in cases()} <= PROVIDERS.keys()
    for case in cases():
        assert TASKS[case.task] in case.provider.tasks, case.name
