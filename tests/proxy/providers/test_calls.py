"""Reading calls: what is typed, what counts as absent, what is refused and by which name."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call
from model_serving.proxy.errors import InvalidParameter, Unavailable
from model_serving.proxy.providers.base import Asked
from model_serving.proxy.providers.chat import Chat, data_url, read_chat
from model_serving.proxy.providers.completions import read_completion
from model_serving.proxy.providers.embeddings import batches, read_texts, write_embeddings
from model_serving.proxy.providers.features import Features

SOME = Features(frozenset({"temperature", "stop", "n", "tools", "max_tokens", "own", "dimensions", "instruction"}))
HELLO = [{"role": "user", "content": "hello"}]


def call(task: str = CHAT, **fields: Any) -> Call:
    return Call(task, {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}, False)


def chat(messages: Any = HELLO, **fields: Any) -> Chat:
    return read_chat(call(messages=messages, **fields), SOME, "vendor")


def test_a_call_is_typed() -> None:
    found = chat(temperature=0.5, stop="end", max_completion_tokens=None, own={"a": 1}, user="u")
    assert (found.temperature, found.stop, found.max_tokens) == (0.5, ["end"], None)
    assert found.other == {"own": msgspec.Raw(b'{"a":1}')}
    assert found.user is None, "harmless: the dialect does not have it"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", None),
        ("frequency_penalty", 0),
        ("logprobs", False),
        ("store", False),
        ("parallel_tool_calls", True),
        ("response_format", {"type": "text"}),
        ("modalities", ["text"]),
        ("metadata", {"a": "b"}),
    ],
)
def test_what_says_nothing_or_harms_nobody_passes(field: str, value: Any) -> None:
    assert chat(**{field: value}).messages


@pytest.mark.parametrize(
    ("messages", "fields", "named"),
    [
        pytest.param(HELLO, {"seed": 1}, "seed", id="a field that the dialect does not have"),
        pytest.param(HELLO, {"logit_bias": {"1": 1}}, "logit_bias", id="a value that says something"),
        pytest.param(HELLO, {"anything": 1}, "anything", id="a field that nobody knows"),
        pytest.param(HELLO, {"temperature": "hot"}, "temperature", id="a type that cannot be"),
        pytest.param([{"role": "narrator", "content": ""}], {}, "messages[0].role", id="a role that nobody knows"),
        pytest.param([{"role": "user", "content": "", "mood": 1}], {}, "messages[0]", id="a field of a message"),
        pytest.param(
            [{"role": "user", "content": [{"type": "text", "text": "", "color": 1}]}],
            {},
            "messages[0].content[0]",
            id="a field of a part",
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "video"}]}], {}, "messages[0].content[0].type", id="a kind of part"
        ),
        pytest.param(HELLO, {"tools": [{"type": "function", "function": {}}]}, "tools[0].function", id="a half tool"),
    ],
)
def test_what_is_wrong_is_named(messages: Any, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        chat(messages, **fields)
    assert refused.value.parameter == named
    assert named in refused.value.message


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("data:image/jpg;base64,AAAA", ("image/jpeg", "AAAA")),
        ("data:application/pdf;name=a;base64,AAAA", ("application/pdf", "AAAA")),
        ("https://host/a.png", None),
    ],
)
def test_a_data_url_is_taken_apart(url: str, found: tuple[str, str] | None) -> None:
    assert data_url(url) == found


@pytest.mark.parametrize("url", ["data:image/png,AAAA", "data:", "data:image/png;base64"])
def test_a_data_url_without_base64_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        data_url(url)


def test_json_of_the_clients_own_stays_as_it_was_sent_and_null_says_nothing() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    tools.append({"type": "function", "function": {"name": "g", "parameters": None}})
    found = [tool.function.parameters for tool in chat(tools=tools).tools]
    assert found == [msgspec.Raw(b'{"type":"object"}'), None]


@pytest.mark.parametrize("prompt", ["one", ["one"]])
def test_one_prompt_is_read_however_it_is_written(prompt: Any) -> None:
    assert read_completion(call(COMPLETIONS, prompt=prompt), SOME, "vendor").prompt == "one"


@pytest.mark.parametrize("prompt", [["one", "two"], [1, 2], [[1], [2]], []])
def test_several_prompts_and_tokens_are_refused(prompt: Any) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read_completion(call(COMPLETIONS, prompt=prompt), SOME, "vendor")
    assert refused.value.parameter == "prompt"


def test_texts_are_read_in_their_order_with_the_instruction_before_each() -> None:
    texts = read_texts(call(EMBEDDINGS, input=["a", "b"], instruction="find: ", dimensions=3), SOME, "vendor")
    assert (texts.inputs, texts.dimensions) == (["find: a", "find: b"], 3)
    assert [list(batch) for batch in batches(["a", "b", "c"], 2)] == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param({"input": [1, 2]}, "input", id="tokens"),
        pytest.param({"input": ["a", [1]]}, "input[1]", id="tokens of one of several"),
        pytest.param({"input": []}, "input", id="nothing"),
        pytest.param(
            {"input": ["a"] * 5, "instruction": "x" * 1_000_000}, "instruction", id="one that would be repeated"
        ),
        pytest.param({"input": "a", "encoding_format": "int8"}, "encoding_format", id="a format that nobody has"),
        pytest.param({"input": "a", "truncate": "END"}, "truncate", id="a field that the dialect does not have"),
    ],
)
def test_embeddings_that_cannot_be_asked_for_are_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read_texts(call(EMBEDDINGS, **given), SOME, "vendor")
    assert refused.value.parameter == named


def test_embeddings_are_written_as_numbers_or_as_their_bytes() -> None:
    vectors = [[0.5, -2.0], [1.0, 0.25]]
    for form in (None, "float", "base64"):
        asked = Asked(call(EMBEDDINGS, input=["a", "b"], encoding_format=form), "m", "id", 1)
        data = msgspec.json.decode(write_embeddings(asked, vectors, None).body)["data"]
        assert [each["index"] for each in data] == [0, 1]
        found = [each["embedding"] for each in data]
        if form == "base64":
            found = [list(struct.unpack("<2f", base64.b64decode(text))) for text in found]
        assert found == vectors


def test_numbers_that_do_not_fit_are_the_providers_fault() -> None:
    asked = Asked(call(EMBEDDINGS, input=["a"], encoding_format="base64"), "m", "id", 1)
    with pytest.raises(Unavailable, match="beyond 32 bits"):
        write_embeddings(asked, [[1e39]], None)


def test_too_few_embeddings_are_no_answer() -> None:
    asked = Asked(call(EMBEDDINGS, input=["a", "b"]), "m", "id", 1)
    with pytest.raises(Unavailable, match="1 embeddings for 2 texts"):
        write_embeddings(asked, [[1.0]], None)
