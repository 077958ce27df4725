"""Any valid call of OpenAI's API becomes what the vendor's types accept, or a 400 that names a field; nothing is lost.

The same calls each time; MODEL_SERVING_EXAMPLES=N draws N others.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from model_serving.proxy.call import Call, Route, parse_call, parse_fields
from model_serving.proxy.errors import BadRequest, InvalidParameter, ProxyError
from model_serving.proxy.providers.examples import EXAMPLES
from model_serving.proxy.providers.features import HARMLESS, NEUTRAL
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy.runtime import compile_runtime
from model_serving.proxy_config import Policy, ProxyConfig, Target
from tests.proxy.providers.golden import TASKS, Case, cases, streamed, vendor_of
from tests.proxy.providers.openai_calls import anything, bodies

MANY = os.environ.get("MODEL_SERVING_EXAMPLES")
FEW = settings(
    max_examples=int(MANY or 25),
    derandomize=MANY is None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SHORT = {long: short for short, long in TASKS.items()}
FREE = ("parameters", "schema", "metadata", "logit_bias", "extra_content")
"""Objects whose fields are the caller's."""
TELLING = ("text", "content", "url", "input", "prompt", "description")
"""Fields whose text the vendor must see."""
Path = tuple[str | int, ...]


def dialect_of(target: Target) -> Any:
    return PROVIDERS[target.provider].dialect(target)


def passes(target: Target) -> bool:
    """Whether bodies pass through as they are."""
    return dialect_of(target).features.fields is None


def _id(target: Target) -> str:
    return f"{target.provider} {target.entity} {SHORT[target.task]}".replace("  ", " ")


TARGETS = [pytest.param(target, id=_id(target)) for target in EXAMPLES]
TRANSLATED = [pytest.param(target, id=_id(target)) for target in EXAMPLES if not passes(target)]
CASES = [
    pytest.param(case, id=case.name) for case in cases() if case.has("reply.json") or case.raw_stream() is not None
]


def valid(target: Target) -> st.SearchStrategy[Any]:
    """Valid calls; Databricks' own fields are not for servers that have OpenAI's API alone."""
    return bodies(SHORT[target.task], own=not passes(target))


def read(target: Target, body: Any) -> Call:
    """The call as the pipeline reads it."""
    return parse_call(Route(task=target.task), parse_fields(json.dumps(body).encode()), target.task, "endpoint")


def sent(target: Target, body: Any) -> list[bytes] | InvalidParameter:
    """The vendor's bodies, or our refusal."""
    try:
        return list(dialect_of(target).request(read(target, body)))
    except InvalidParameter as error:
        return error


def path_of(target: Target, stream: bool) -> str:
    compiled = compile_runtime(ProxyConfig("endpoint", 1, "revision", [target]), Policy("p")).targets[0]
    return (compiled.stream if stream else compiled.whole).path


def test_each_provider_has_an_example_of_each_task() -> None:
    told = {(target.provider, target.task) for target in EXAMPLES}
    assert told == {(name, task) for name, provider in PROVIDERS.items() for task in provider.tasks}


# What the vendor gets


@pytest.mark.parametrize("target", TARGETS)
def test_a_valid_call_is_translated_or_its_field_is_named(target: Target) -> None:
    accept = vendor_of(target.provider).accept_request
    paths = {stream: path_of(target, stream) for stream in (False, True)}

    @FEW
    @given(valid(target), st.booleans())
    def holds(body: Any, streams: bool) -> None:
        stream = streams and SHORT[target.task] != "embeddings"
        body = body | {"stream": True} if stream else body
        answer = sent(target, body)
        if isinstance(answer, InvalidParameter):
            assert answer.parameter and names_a_field(answer.parameter, body), answer
            return
        for raw in answer:
            accept(SHORT[target.task], stream, paths[stream], json.loads(raw))

    holds()


def names_a_field(path: str, body: Any) -> bool:
    """Whether the body has what `messages[2].content[0]` names."""
    for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        if isinstance(body, dict) and name in body:
            body = body[name]
        elif isinstance(body, list) and number and int(number) < len(body):
            body = body[int(number)]
        else:
            return False
    return True


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_a_body_holds_it_is_translated_or_refused(target: Target) -> None:
    @FEW
    @given(valid(target), anything(), st.data())
    def holds(body: Any, junk: Any, data: st.DataObject) -> None:
        where = data.draw(st.sampled_from(list(places(body))))
        try:
            dialect_of(target).request(read(target, put(body, where, junk)))
        except (InvalidParameter, BadRequest) as error:
            assert error.message
            assert not isinstance(error, InvalidParameter) or error.parameter

    holds()


@pytest.mark.parametrize("target", TRANSLATED)
def test_a_field_that_nobody_knows_is_refused(target: Target) -> None:
    @FEW
    @given(valid(target), st.data())
    def holds(body: Any, data: st.DataObject) -> None:
        assume(not isinstance(sent(target, body), InvalidParameter))
        objects = [where for where in places(body) if isinstance(at(body, where), dict)]
        where = data.draw(st.sampled_from(objects))
        answer = sent(target, put(body, (*where, "x_nobody"), 1))
        assert isinstance(answer, InvalidParameter), f"{where} was dropped in silence"
        assert answer.parameter

    holds()


@pytest.mark.parametrize("target", TRANSLATED)
def test_what_a_call_says_matters(target: Target) -> None:
    """A text that is another one, or a field that is gone, makes another request: nothing is dropped in silence."""
    harmless = {*HARMLESS, *dialect_of(target).features.harmless, "model", "stream_options", "encoding_format"}

    @FEW
    @given(valid(target), st.data())
    def holds(body: Any, data: st.DataObject) -> None:
        before = sent(target, body)
        assume(not isinstance(before, InvalidParameter))
        telling = [change for change in changes(body) if not harmless & {*change[0]}]
        assume(telling)
        where, other = data.draw(st.sampled_from(telling))
        after = sent(target, other)
        assert isinstance(after, InvalidParameter) or after != before, f"{where} was dropped in silence"

    holds()


def changes(body: Any) -> Iterator[tuple[Path, Any]]:
    """Bodies that say something else, each with the place of the difference."""
    moot = {"tools"} if body.get("tool_choice") == "none" else set()  # a tool that may not be called
    moot |= set() if body.get("tools") else {"parallel_tool_calls"}
    moot |= {"reasoning_effort"} if body.get("thinking") == {"type": "disabled"} else set()
    for name in body:
        if name not in ("messages", "prompt", "input", *moot) and not says_nothing(name, body[name]):
            yield (name,), {other: value for other, value in body.items() if other != name}
    for where in places(body):
        if where and where[-1] in TELLING and not {"response_format", *moot} & {*where}:
            value = at(body, where)
            if isinstance(value, str) and value:
                yield where, put(body, where, f"{value}x")


def says_nothing(name: str, value: Any) -> bool:
    """Values that count as absent, and those that say what is so anyway."""
    if name in ("temperature", "top_p") and value == 1:  # Anthropic's defaults
        return True
    return (
        value is None or msgspec.json.encode(value) in NEUTRAL.get(name, ()) or value in ("auto", {"type": "disabled"})
    )


def places(value: Any, where: Path = ()) -> Iterator[Path]:
    """The paths of all values within a body, but for those whose fields are the caller's."""
    yield where
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in FREE:
                yield from places(item, (*where, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*where, number))


def at(body: Any, where: Path) -> Any:
    for step in where:
        body = body[step]
    return body


def put(body: Any, where: Path, value: Any) -> Any:
    """A copy of the body with another value there."""
    body = copy.deepcopy(body)
    if not where:
        return value if isinstance(value, dict) else body
    at(body, where[:-1])[where[-1]] = value
    return body


# What the client gets


@pytest.mark.parametrize("case", CASES)
def test_whatever_a_vendor_sends_it_is_read_or_refused(case: Case) -> None:
    stream = case.raw_stream()
    raw = (case.folder / "reply.json").read_bytes() if stream is None else stream

    @settings(FEW, max_examples=max(3, FEW.max_examples // 8))
    @given(st.integers(0, len(raw) - 1), st.integers(0, 8), st.binary(max_size=3))
    def holds(start: int, length: int, other: bytes) -> None:
        told = raw[:start] + other + raw[start + length :]
        try:
            if stream is None:
                case.dialect.reply(case.heard(), [told])
            else:
                streamed(case, [told])
        except ProxyError as error:
            assert error.message

    holds()
