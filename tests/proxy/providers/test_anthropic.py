"""Provider `anthropic`: where it is called, what it is asked, and what cannot be asked. Golden cases show the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from model_serving.proxy.call import CHAT, COMPLETIONS, Call
from model_serving.proxy.credentials.scheme import Outgoing
from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.anthropic_messages import Messages
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy_config import CredentialFile, Target
from tests.proxy.providers.vendors.anthropic import accept_message

ANTHROPIC = PROVIDERS["anthropic"]
FILE = CredentialFile("s", "k")
HELLO = {"role": "user", "content": "hello"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {}}
CACHED = {"type": "ephemeral"}


def target(task: str = CHAT, **settings: str) -> Target:
    return Target("e", "anthropic", task, "claude", settings=settings, credentials={"anthropic_api_key": FILE})


def call(task: str = CHAT, stream: bool = False, **fields: Any) -> Call:
    given = {"messages": [HELLO]} if task == CHAT else {"prompt": "hello"}
    return Call(
        task, {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in (given | fields).items()}, stream
    )


def asked(**fields: Any) -> Any:
    """What the vendor is asked, accepted by its types."""
    (body,) = ANTHROPIC.dialect(target()).request(call(**fields))
    decoded = msgspec.json.decode(body)
    accept_message(decoded)
    return decoded


def refused(**fields: Any) -> str | None:
    """The field that a refusal names."""
    with pytest.raises(InvalidParameter) as caught:
        ANTHROPIC.dialect(target()).request(call(**fields))
    return caught.value.parameter


def user(*parts: Any, **more: Any) -> Any:
    return [{"role": "user", "content": list(parts), **more}]


def model(*parts: Any, **more: Any) -> Any:
    return [HELLO, {"role": "assistant", "content": list(parts), **more}, HELLO]


def text(words: str = "x", **more: Any) -> Any:
    return {"type": "text", "text": words, **more}


def image(url: str, **more: Any) -> Any:
    return {"type": "image_url", "image_url": {"url": url}, **more}


def file(**more: Any) -> Any:
    return {"type": "file", "file": more}


def thought(**more: Any) -> Any:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", **more}]}


def tool_call(arguments: str = "{}", **more: Any) -> Any:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


@pytest.mark.parametrize(
    ("task", "base", "url"),
    [
        (CHAT, None, "https://api.anthropic.com/v1/messages"),
        (COMPLETIONS, None, "https://api.anthropic.com/v1/complete"),
        (CHAT, "http://gateway:8080", "http://gateway:8080/v1/messages"),
        (CHAT, "http://gateway:8080/claude/", "http://gateway:8080/claude/v1/messages"),
        (CHAT, "http://gateway:8080/claude/v1", "http://gateway:8080/claude/v1/messages"),
        (COMPLETIONS, "http://gateway:8080/v1/", "http://gateway:8080/v1/complete"),
    ],
)
def test_a_base_may_or_may_not_end_in_v1(task: str, base: str | None, url: str) -> None:
    settings = {"anthropic_api_base": base} if base else {}
    assert {ANTHROPIC.url(target(task, **settings), stream) for stream in (False, True)} == {url}


def test_key_and_version_are_headers() -> None:
    scheme = ANTHROPIC.scheme(target())
    assert scheme.headers("sk-test", Outgoing("h", "/", b"", 0.0)) == b"x-api-key: sk-test\r\n"
    assert scheme.files == (FILE,)
    assert ANTHROPIC.headers(target()) == [("anthropic-version", "2023-06-01")]
    with pytest.raises(KeyError, match="anthropic_api_key"):
        ANTHROPIC.scheme(Target("e", "anthropic", CHAT, "claude"))


def test_elsewhere_the_path_names_the_model_and_the_body_the_version() -> None:
    dialect = Messages("google-cloud-vertex-ai", "", "vertex-2023-10-16")
    (body,) = dialect.request(call(stream=True, max_tokens=5))
    assert msgspec.json.decode(body) == {
        "anthropic_version": "vertex-2023-10-16", "messages": [HELLO], "max_tokens": 5, "stream": True,
    }  # fmt: skip
    with pytest.raises(InvalidParameter, match="google-cloud-vertex-ai"):
        dialect.request(call(seed=1))


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        pytest.param({}, {"max_tokens": 8192}, id="the vendor demands a limit"),
        pytest.param({"max_completion_tokens": 0}, {"max_tokens": 0}, id="any limit of the client's is the vendor's"),
        pytest.param(
            {"thinking": {"type": "enabled", "budget_tokens": 9000}},
            {"max_tokens": 17192, "thinking": {"type": "enabled", "budget_tokens": 9000}},
            id="the limit has room for thoughts",
        ),
        pytest.param(
            {"thinking": {"type": "disabled"}}, {"max_tokens": 8192, "thinking": {"type": "disabled"}}, id="no thoughts"
        ),
        pytest.param({"temperature": 1.7, "max_tokens": 1}, {"temperature": 1.7, "max_tokens": 1}, id="out of range"),
        pytest.param({"stop": "!", "max_tokens": 1}, {"stop_sequences": ["!"], "max_tokens": 1}, id="one stop"),
        pytest.param({"user": "u", "max_tokens": 1}, {"metadata": {"user_id": "u"}, "max_tokens": 1}, id="the user"),
        pytest.param(
            {"reasoning_effort": "max", "max_tokens": 1},
            {"output_config": {"effort": "max"}, "max_tokens": 1},
            id="the vendor's own effort",
        ),
        pytest.param(
            {"metadata": {"a": "b"}, "prompt_cache_key": "k", "seed": None, "n": 1, "logprobs": False, "max_tokens": 1},
            {"max_tokens": 1},
            id="what says nothing or harms nobody",
        ),
        pytest.param(
            {"parallel_tool_calls": False, "max_tokens": 1}, {"max_tokens": 1}, id="no tools, so none in parallel"
        ),
    ],
)
def test_options_of_a_call(fields: Any, sent: Any) -> None:
    assert asked(**fields) == {"model": "claude", "messages": [HELLO]} | sent


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("required", None, {"type": "any"}),
        ("none", None, {"type": "none"}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, None, {"type": "tool", "name": "weather"}),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        (
            {"type": "function", "function": {"name": "weather"}},
            False,
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_the_choice_of_tools(choice: Any, parallel: Any, sent: Any) -> None:
    told = asked(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=parallel)
    assert told.get("tool_choice") == sent


@pytest.mark.parametrize(
    ("function", "tool"),
    [
        pytest.param({}, {"input_schema": {"type": "object"}}, id="no parameters"),
        pytest.param({"parameters": None}, {"input_schema": {"type": "object"}}, id="null"),
        pytest.param({"parameters": {}}, {"input_schema": {"type": "object"}}, id="any object"),
        pytest.param({"parameters": SCHEMA, "strict": True}, {"input_schema": SCHEMA, "strict": True}, id="strict"),
        pytest.param({"parameters": SCHEMA, "strict": False}, {"input_schema": SCHEMA}, id="lax, as it is anyway"),
        pytest.param(
            {"parameters": {"type": "object", "$defs": {}}, "description": "d"},
            {"input_schema": {"type": "object", "$defs": {}}, "description": "d"},
            id="a schema stays as it is",
        ),
    ],
)
def test_a_tool(function: Any, tool: Any) -> None:
    told = asked(tools=[{"type": "function", "function": {"name": "f", **function}}])
    assert told["tools"] == [{"name": "f"} | tool]


def test_a_mark_for_the_cache_stays_where_it_is() -> None:
    marked = {"cache_control": CACHED}
    result = {"role": "tool", "tool_call_id": "1", "content": [text(**marked)]}
    told = asked(
        messages=[
            *user(text(**marked), image("https://h/x.png", cache_control={"type": "ephemeral", "ttl": "1h"})),
            {"role": "assistant", "content": [text(**marked)], "tool_calls": [tool_call(**marked)]},
            result,
        ],
        tools=[WEATHER | marked],
    )
    question, answer, outcome = (turn["content"] for turn in told["messages"])
    assert [block["cache_control"] for block in question] == [CACHED, {"type": "ephemeral", "ttl": "1h"}]
    assert [block["cache_control"] for block in answer] == [CACHED, CACHED]
    assert outcome[0]["content"] == [text(**marked)]
    assert told["tools"][0]["cache_control"] == CACHED


@pytest.mark.parametrize(
    ("assistant", "content"),
    [
        pytest.param({"content": [thought(signature="s")]}, [("thinking", "hm")], id="a signed thought"),
        pytest.param({"content": [thought(), text("a")]}, [("text", "a")], id="an unsigned one is left out"),
        pytest.param(
            {"content": [thought(), thought(signature="s"), text("a")]},
            [("thinking", "hmhm"), ("text", "a")],
            id="one in pieces is whole with its signature",
        ),
        pytest.param(
            {"content": [thought(), text("a"), thought(signature="s")]},
            [("text", "a"), ("thinking", "hm")],
            id="but not across a text",
        ),
        pytest.param({"content": "a", "reasoning_content": "hm"}, "a", id="thoughts as text are left out"),
        pytest.param({"content": [{"type": "refusal", "refusal": "no"}]}, [("text", "no")], id="a refusal as a part"),
        pytest.param({"content": None, "refusal": "no"}, [("text", "no")], id="a refusal"),
        pytest.param({"content": "", "tool_calls": [tool_call()]}, [("tool_use", {})], id="a call without a text"),
        pytest.param(
            {"content": "a", "annotations": [], "tool_calls": [tool_call("", index=0, extra_content={"google": {}})]},
            [("text", "a"), ("tool_use", {})],
            id="what others put into answers is left out",
        ),
    ],
)
def test_what_the_model_said_before(assistant: Any, content: Any) -> None:
    told = asked(messages=[HELLO, {"role": "assistant", **assistant}, HELLO])["messages"][1]["content"]
    kinds = {"text": "text", "thinking": "thinking", "tool_use": "input"}
    assert content == (
        told if isinstance(told, str) else [(block["type"], block[kinds[block["type"]]]) for block in told]
    )


def test_a_description_of_a_schema_becomes_its_own() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": None}}
    told = asked(response_format=wanted)["output_config"]
    assert told == {"format": {"type": "json_schema", "schema": {"description": "d"} | SCHEMA}}


def schema(**more: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "n", **more}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["a", " \n"]}, "stop[1]"),
        ({"stop": [""] * 2}, "stop[0]"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": schema()}, "response_format.json_schema.schema"),
        ({"response_format": schema(schema="x")}, "response_format.json_schema.schema"),
        (
            {"response_format": schema(schema={"description": "a"}, description="b")},
            "response_format.json_schema.description",
        ),
        ({"reasoning_effort": "none", "thinking": {"type": "enabled", "budget_tokens": 5}}, "reasoning_effort"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "adaptive", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"safety_identifier": 5}, "safety_identifier"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"messages": [HELLO | {"name": "n"}]}, "messages[0].name"),
        ({"messages": [{"role": "system", "content": "x", "name": "n"}]}, "messages[0].name"),
        (
            {"messages": user(text(), {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})},
            "messages[0].content[1]",
        ),
        ({"messages": user(image("data:image/bmp;base64,AA=="))}, "messages[0].content[0].image_url.url"),
        ({"messages": user(image("data:image/png,AA=="))}, "messages[0].content[0].image_url.url"),
        ({"messages": user(file(file_id="file-1"))}, "messages[0].content[0].file.file_id"),
        ({"messages": user(file())}, "messages[0].content[0].file.file_data"),
        ({"messages": user(file(file_data="data:text/csv;base64,AA=="))}, "messages[0].content[0].file.file_data"),
        ({"messages": user(file(file_data="data:text/plain;base64,/w=="))}, "messages[0].content[0].file.file_data"),
        ({"messages": user(file(file_data="data:text/plain;base64,!"))}, "messages[0].content[0].file.file_data"),
        ({"messages": model(thought() | {"cache_control": CACHED})}, "messages[1].content[0].cache_control"),
        ({"messages": model({"type": "reasoning", "summary": [{"type": "x"}]})}, "messages[1].content[0].summary[0]"),
        (
            {"messages": model(text(), tool_calls=[tool_call(), tool_call("[]")])},
            "messages[1].tool_calls[1].function.arguments",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: Any, named: str) -> None:
    assert refused(**fields) == named
