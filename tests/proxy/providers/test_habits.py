"""What well-known clients send besides OpenAI's examples, and what comes back from our own answers: none of it is a
reason to refuse a call to a strict vendor, and none of it is lost where it says something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call, parse_fields
from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.anthropic_complete import Complete
from model_serving.proxy.providers.anthropic_messages import Messages
from model_serving.proxy.providers.base import Asked, Dialect
from model_serving.proxy.providers.bedrock_converse import Converse
from model_serving.proxy.providers.bedrock_embeddings import Titan
from tests.proxy.providers.answers import events_of
from tests.proxy.providers.vendors import amazon_bedrock, anthropic

CLAUDE = Messages("anthropic", "claude")
BEDROCK = Converse("amazon-bedrock", "anthropic", completions=False)
NOVA = Converse("amazon-bedrock", "amazon", completions=False)
HELLO = {"role": "user", "content": "hello"}
GO = {"role": "user", "content": [{"text": "hello"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def asked(dialect: Dialect, body: Any, task: str = CHAT) -> Any:
    """What the vendor is asked, accepted by its types."""
    text = body if isinstance(body, str) else json.dumps(({"messages": [HELLO]} if task == CHAT else {}) | body)
    (raw,) = dialect.request(Call(task, parse_fields(text.encode()), False))
    told = msgspec.json.decode(raw)
    if dialect is CLAUDE:
        anthropic.accept_message(told)
    elif isinstance(dialect, Converse):
        amazon_bedrock.accept_request("chat", False, "/model/m/converse", told)
    return told


def turn(*messages: Any) -> Any:
    return {"messages": [HELLO, *messages]}


def called(id: str = "a", arguments: str = "{}", **more: Any) -> Any:
    call = {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call], **more}


def result(id: str = "a", content: Any = "x") -> Any:
    return {"role": "tool", "tool_call_id": id, "content": content}


def thought(text: str, signature: str, **more: Any) -> Any:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text, "signature": signature}], **more}


NOTHING = [
    pytest.param({"tool_choice": "auto"}, id="a choice among no tools"),
    pytest.param({"tool_choice": "none", "parallel_tool_calls": True}, id="no tools, and none to be called"),
    pytest.param({"tools": [], "tool_choice": "auto"}, id="an empty list of tools"),
    pytest.param({"parallel_tool_calls": False}, id="no tools, and none side by side"),
    pytest.param({"stop": ""}, id="an empty stop"),
    pytest.param({"stop": [""]}, id="a list of an empty stop"),
    pytest.param({"stream_options": {"include_usage": True}}, id="options of a stream without one"),
    pytest.param({"n": 1.0, "top_logprobs": 0, "logprobs": False}, id="zeros and ones"),
    pytest.param(
        '{"messages": [{"role": "user", "content": "hello"}], "modalities": [ "text" ],\n "logit_bias": { },'
        ' "response_format": {\n  "type" : "text" }}',
        id="blanks within values that say nothing",
    ),
    pytest.param(
        turn() | {"messages": [HELLO | {"name": None, "tool_calls": None, "tool_call_id": None, "audio": None}]},
        id="a whole class, with null for what is not there",
    ),
]


@pytest.mark.parametrize("body", NOTHING)
@pytest.mark.parametrize("dialect", [CLAUDE, BEDROCK, NOVA])
def test_what_says_nothing_is_no_reason_to_refuse(dialect: Dialect, body: Any) -> None:
    assert asked(dialect, body) == asked(dialect, {})


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(
            {"content": "a", "refusal": None, "annotations": [], "audio": None, "function_call": None}, id="openai"
        ),
        pytest.param({"content": "a", "tool_calls": [], "reasoning_content": "hm"}, id="thoughts as text"),
        pytest.param({"content": ["a"]}, id="LangChain's list of a string"),
        pytest.param({"content": ["", {"type": "text", "text": "a"}]}, id="LangChain's list that began as a string"),
        pytest.param({"content": [{"type": "text", "text": "a"}], "parsed": None, "name": None}, id="a parsed answer"),
    ],
)
def test_an_answer_comes_back_as_clients_keep_it(message: Any) -> None:
    body = turn({"role": "assistant", **message}, HELLO)
    content = asked(CLAUDE, body)["messages"][1]["content"]
    assert content in ("a", [{"type": "text", "text": "a"}])
    assert asked(BEDROCK, body)["messages"] == [GO, {"role": "assistant", "content": [{"text": "a"}]}, GO]


def test_a_field_that_says_something_is_refused_beside_null() -> None:
    with pytest.raises(InvalidParameter, match=r"messages\[0\].*x_mine") as caught:
        asked(CLAUDE, {"messages": [HELLO | {"tool_calls": None, "x_mine": 1}]})
    assert caught.value.parameter and caught.value.parameter.startswith("messages")
    with pytest.raises(InvalidParameter, match=r"messages\[0\]: .*missing.*content"):
        asked(CLAUDE, {"messages": [{"role": "user", "content": None}]})


def test_whole_numbers_may_have_a_point() -> None:
    body = {"max_tokens": 100.0, "top_k": 5.000}
    assert (asked(CLAUDE, body)["max_tokens"], asked(CLAUDE, body)["top_k"]) == (100, 5)
    assert asked(BEDROCK, body)["inferenceConfig"] == {"maxTokens": 100}
    old = asked(Complete("anthropic", "claude"), {"prompt": "x", "max_tokens": 7.0}, COMPLETIONS)
    assert old["max_tokens_to_sample"] == 7
    assert asked(Titan("amazon-bedrock", True), {"input": "x", "dimensions": 256.0}, EMBEDDINGS)["dimensions"] == 256
    with pytest.raises(InvalidParameter, match="max_tokens"):
        asked(CLAUDE, {"max_tokens": 100.5})


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}),
        ({"temperature": 0.2, "top_p": 1.0}, {"temperature": 0.2}),
        ({"temperature": 1.0, "top_p": 1}, {}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
    ],
)
def test_newer_claudes_take_one_of_temperature_and_top_p(sent: Any, told: Any) -> None:
    claude = asked(CLAUDE, sent)
    assert {name: claude[name] for name in ("temperature", "top_p") if name in claude} == told
    names = {"temperature": "temperature", "top_p": "topP"}
    assert asked(BEDROCK, sent).get("inferenceConfig", {}) == {names[name]: value for name, value in told.items()}
    assert asked(NOVA, sent)["inferenceConfig"] == {names[name]: value for name, value in sent.items()}


def test_blank_text_is_left_out_beside_other_content() -> None:
    blank = {"type": "text", "text": " \n"}
    body = {
        "messages": [
            {"role": "system", "content": ""},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": ""},
            {"role": "user", "content": [blank, {"type": "text", "text": "hello"}]},
            called(content="\n\n"),
            result(content=[blank, {"type": "text", "text": "x"}]),
            {"role": "assistant", "content": " "},
            HELLO,
        ],
        "tools": [TOOL],
    }
    claude, bedrock = asked(CLAUDE, body), asked(BEDROCK, body)
    assert claude["system"] == "Be brief."
    text = {"type": "text", "text": "hello"}
    assert [message["content"] for message in claude["messages"]] == [
        [text],
        [{"type": "tool_use", "id": "a", "name": "f", "input": {}}],
        [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}]}, text],
    ]
    assert bedrock["system"] == [{"text": "Be brief."}]
    assert [message["content"] for message in bedrock["messages"]] == [
        [{"text": "hello"}],
        [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}],
        [{"toolResult": {"toolUseId": "a", "content": [{"text": "x"}]}}, {"text": "hello"}],
    ]


@pytest.mark.parametrize("id", ["functions.f:0", "call|x", "x" * 65, ""])
def test_ids_of_other_vendors_are_told_apart_and_stay_together(id: str) -> None:
    body = turn(called(id), result(id), called("functions.f:1"), result("functions.f:1")) | {"tools": [TOOL]}
    turns = asked(CLAUDE, body)["messages"]
    ids = [block.get("id", block.get("tool_use_id")) for message in turns[1:] for block in message["content"]]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert all(len(told) <= 64 and told.replace("_", "").isalnum() for told in ids)
    assert json.dumps(asked(BEDROCK, body)["messages"]).count(ids[0]) == 2


def test_a_usual_id_stays() -> None:
    assert (
        asked(CLAUDE, turn(called("toolu_01-A"), result("toolu_01-A")))["messages"][1]["content"][0]["id"]
        == "toolu_01-A"
    )


def test_thoughts_between_tool_calls_go_back_to_their_place() -> None:
    """The vendor compares them with what it signed, and refuses a turn whose blocks moved."""
    call = called("a")["tool_calls"][0]
    content = [
        thought("one", "s1"),
        {"type": "text", "text": "First."},
        thought("two", "s2"),
        thought("three", "s3", after_tool_calls=1),
        thought("four", "s4", after_tool_calls=9),
    ]
    calls = [call, call | {"id": "b"}]
    body = turn(called(content=content, tool_calls=calls), result("a"), result("b")) | {"tools": [TOOL]}
    claude = [
        block.get("signature", block.get("id", block.get("text")))
        for block in asked(CLAUDE, body)["messages"][1]["content"]
    ]
    assert claude == ["s1", "First.", "s2", "a", "s3", "b", "s4"]
    kinds = [next(iter(block)) for block in asked(BEDROCK, body)["messages"][1]["content"]]
    reasoning, use = "reasoningContent", "toolUse"
    assert kinds == [reasoning, "text", reasoning, use, reasoning, use, reasoning]


GOLDEN = Path(__file__).parents[2] / "golden" / "providers" / "anthropic"


def put_together(stream: bytes) -> Any:
    """The message as LangChain's clients put it together: the pieces in a list, text between them as strings."""
    content: list[Any] = []
    calls: list[Any] = []
    for event in events_of(stream):
        for delta in (choice["delta"] for choice in event["choices"]):
            piece = delta.get("content") or []
            content += [piece] if isinstance(piece, str) else piece
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(calls):
                    calls.append(call)
                else:
                    calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return {"role": "assistant", "content": ["", *content], "tool_calls": calls}


def dumped(content: list[Any]) -> str:
    """Content as ChatDatabricks keeps it: lists of thoughts as JSON, text as it is."""
    return "".join(piece if isinstance(piece, str) else json.dumps([piece]) for piece in content)


def joined_text(blocks: list[Any]) -> list[Any]:
    """Blocks, those of text that follow each other as one."""
    joined: list[Any] = []
    for block in blocks:
        if joined and block["type"] == joined[-1]["type"] == "text":
            joined[-1]["text"] += block["text"]
        else:
            joined.append(block)
    return joined


@pytest.mark.parametrize("case", ["thinking_tool_call", "thinking_between_calls"])
def test_a_signed_turn_goes_back_as_it_came(case: str) -> None:
    said = json.loads((GOLDEN / case / "reply.json").read_text())["content"]
    whole = json.loads((GOLDEN / case / "answer.json").read_text())["choices"][0]["message"]
    pieces = put_together((GOLDEN / f"{case}_stream" / "answer.sse").read_bytes())
    texts = (json.dumps(whole["content"]), dumped(pieces["content"]))
    for message in (whole, pieces, *(whole | {"content": text} for text in texts)):
        told = asked(CLAUDE, turn(message) | {"tools": [TOOL]})["messages"][1]["content"]
        assert joined_text(told) == said


def test_a_thought_that_is_only_a_signature_goes_back() -> None:
    """Newer Claudes tell no more of their thoughts, unless they are asked to."""
    said = [{"type": "thinking", "thinking": "", "signature": "c2ln"}, anthropic.tool_use("t", "f")]
    message = anthropic.message_of(*said, stop_reason="tool_use")
    heard = Asked(Call(CHAT, parse_fields(b'{"thinking": {"type": "adaptive"}}'), False), "claude", "r", 1)
    whole = json.loads(CLAUDE.reply(heard, [msgspec.json.encode(anthropic.wire(message))]).body)["choices"][0][
        "message"
    ]
    stream = CLAUDE.stream(heard)
    pieces = put_together(stream.feed(anthropic.stream_of(message)) + stream.close())
    thought = {"reasoningContent": {"reasoningText": {"text": "", "signature": "c2ln"}}}
    for told in (whole, pieces, whole | {"content": json.dumps(whole["content"])}):
        assert asked(CLAUDE, turn(told))["messages"][1]["content"] == said
        assert asked(BEDROCK, turn(told))["messages"][1]["content"][0] == thought


@pytest.mark.parametrize(
    "text",
    [
        '[{"type": "reasoning", "summary": [}]',
        '[{"type": "reasoning", "summary": [{"type": "summary_text", "x": 1}]}]',
        '[{"type": "reasoning", "summary": [' + "[" * 5000,
        'So: [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": "s"}]}]',
    ],
)
def test_a_text_that_only_looks_like_thoughts_stays_one(text: str) -> None:
    assert asked(CLAUDE, turn({"role": "assistant", "content": text}, HELLO))["messages"][1]["content"] == text


def test_whether_thoughts_can_be_read_is_anthropics_own() -> None:
    thinking = {"type": "adaptive", "display": "summarized"}
    assert asked(CLAUDE, {"thinking": thinking})["thinking"] == thinking
    assert asked(BEDROCK, {"thinking": thinking})["additionalModelRequestFields"] == {"thinking": thinking}


def test_no_effort_switches_thoughts_off_alike() -> None:
    off = {"thinking": {"type": "disabled"}}
    assert asked(CLAUDE, {"reasoning_effort": "none"})["thinking"] == off["thinking"]
    assert asked(BEDROCK, {"reasoning_effort": "none"})["additionalModelRequestFields"] == off
    for dialect in (CLAUDE, BEDROCK):
        with pytest.raises(InvalidParameter, match="contradicts"):
            asked(dialect, {"reasoning_effort": "none", "thinking": {"type": "adaptive"}})


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_an_address_is_not_told_to_a_vendor_that_refuses_it(field: str) -> None:
    assert "metadata" not in asked(CLAUDE, {field: "ann@example.com"})
    assert asked(CLAUDE, {field: "ann@home"})["metadata"] == {"user_id": "ann@home"}


def test_a_tool_that_is_not_strict_is_told_without_the_word() -> None:
    lax, strict = ({**TOOL, "function": TOOL["function"] | {"strict": value}} for value in (False, True))  # type: ignore[dict-item, operator]
    assert "strict" not in asked(CLAUDE, {"tools": [lax]})["tools"][0]
    assert "strict" not in asked(BEDROCK, {"tools": [lax]})["toolConfig"]["tools"][0]["toolSpec"]
    assert asked(BEDROCK, {"tools": [strict]})["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True


def test_vertex_fetches_no_images() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://h/x.png"}}
    vertex = Messages("google-cloud-vertex-ai", "", "vertex-2023-10-16", urls=False)
    with pytest.raises(InvalidParameter, match="data: URL") as caught:
        asked(vertex, {"messages": [{"role": "user", "content": [image]}]})
    assert caught.value.parameter == "messages[0].content[0].image_url.url"
    assert "image url" not in vertex.features.parts
    assert asked(CLAUDE, {"messages": [{"role": "user", "content": [image]}]})


def test_media_types_are_read_in_any_case() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AA==", "detail": "high"}}
    told = asked(CLAUDE, {"messages": [{"role": "user", "content": [image]}]})
    assert told["messages"][0]["content"][0]["source"]["media_type"] == "image/png"
