"""Gemini's details that golden cases do not show: refusals by their path, thinking, ids, odd answers and streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model_serving.proxy.call import CHAT, COMPLETIONS, Call, Route, parse_call, parse_fields
from model_serving.proxy.errors import InvalidParameter, ProviderError, ProxyError, Unavailable
from model_serving.proxy.providers.base import Asked
from model_serving.proxy.providers.gemini import GeminiChat, GeminiText
from tests.proxy.providers.answers import events_of, joined

VENDOR = "google-cloud-vertex-ai"
HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "look"}}


def chat(*messages: Any, **fields: Any) -> Call:
    body = {"messages": list(messages) or [HI], **fields}
    return parse_call(Route(task=CHAT), parse_fields(json.dumps(body).encode()), CHAT, "endpoint")


def sent(call: Call, model: str = "gemini-2.5-pro") -> Any:
    return json.loads(GeminiChat(VENDOR, model).request(call)[0])


def answered(*candidates: Any, call: Call | None = None, **rest: Any) -> Any:
    body = json.dumps({"candidates": list(candidates)} | rest).encode()
    return json.loads(GeminiChat(VENDOR, "m").reply(Asked(call or chat(), "m", "request-1", 0), [body]).body)


def streamed(*events: Any, call: Call | None = None) -> tuple[bytes, Any]:
    stream = GeminiChat(VENDOR, "m").stream(Asked(call or chat(stream=True), "m", "request-1", 0))
    told = b"".join(stream.feed(b"data: %b\n\n" % json.dumps(event).encode()) for event in events)
    return told + stream.close(), stream


def said(*parts: Any, reason: str | None = None, **rest: Any) -> Any:
    candidate = {"content": {"role": "model", "parts": list(parts)}} | rest
    return candidate | ({"finishReason": reason} if reason else {})


CACHED = {"cache_control": {"type": "ephemeral"}}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def image(url: str, **rest: Any) -> Any:
    return {"type": "image_url", "image_url": {"url": url} | rest}


def user(*parts: Any) -> Any:
    return {"role": "user", "content": list(parts)}


REFUSED = [
    pytest.param([HI | {"name": "a"}], {}, "messages[0].name", id="an author's name"),
    pytest.param(
        [HI, {"role": "assistant", "content": "x", "name": "a"}], {}, "messages[1].name", id="the model's name"
    ),
    pytest.param([{"role": "system", "content": "x", "name": "a"}], {}, "messages[0].name", id="the system's name"),
    pytest.param(
        [user({"type": "text", "text": "x"} | CACHED)],
        {},
        "messages[0].content[0].cache_control",
        id="a mark on a text",
    ),
    pytest.param(
        [user(image("gs://a/b.png") | CACHED)], {}, "messages[0].content[0].cache_control", id="a mark on an image"
    ),
    pytest.param(
        [{"role": "assistant", "tool_calls": [CALL | CACHED]}],
        {},
        "messages[0].tool_calls[0].cache_control",
        id="a mark on a call",
    ),
    pytest.param([HI], {"tools": [TOOL | CACHED]}, "tools[0].cache_control", id="a mark on a tool"),
    pytest.param([user(image("http:x"))], {}, "messages[0].content[0].image_url.url", id="no URL that is fetched"),
    pytest.param([user(image("https://a/b"))], {}, "messages[0].content[0].image_url.url", id="a URL without a type"),
    pytest.param([user(image("data:image/png,x"))], {}, "messages[0].content[0].image_url.url", id="no base64"),
    pytest.param(
        [user(image("data:;base64,eA=="))], {}, "messages[0].content[0].image_url.url", id="data without a type"
    ),
    pytest.param(
        [user(image("gs://a/b.png", detail="low"), image("gs://a/b.png", detail="high"))],
        {},
        "messages[0].content[1].image_url.detail",
        id="two resolutions",
    ),
    pytest.param(
        [user({"type": "file", "file": {"file_id": "file-1"}})],
        {},
        "messages[0].content[0].file.file_id",
        id="an upload",
    ),
    pytest.param(
        [{"role": "assistant", "content": [{"type": "reasoning", "summary": [{"type": "summary_text", "data": "x"}]}]}],
        {},
        "messages[0].content[0].summary[0]",
        id="thoughts that only another vendor can read",
    ),
    pytest.param(
        [{"role": "assistant", "tool_calls": [CALL | {"extra_content": {"other": {}}}]}],
        {},
        "messages[0].tool_calls[0].extra_content",
        id="another vendor's extra content",
    ),
    pytest.param(
        [{"role": "assistant", "tool_calls": [CALL | {"function": {"name": "look", "arguments": "[1]"}}]}],
        {},
        "messages[0].tool_calls[0].function.arguments",
        id="arguments that are no object",
    ),
    pytest.param(
        [HI, {"role": "tool", "tool_call_id": "x", "content": "y"}],
        {},
        "messages[1].tool_call_id",
        id="nobody's result",
    ),
    pytest.param([HI], {"reasoning_effort": "huge"}, "reasoning_effort", id="an unknown effort"),
    pytest.param([HI], {"reasoning_effort": "xhigh"}, "reasoning_effort", id="an effort that the model does not have"),
    pytest.param(
        [HI],
        {"reasoning_effort": "low", "thinking": {"type": "enabled", "budget_tokens": 9}},
        "reasoning_effort",
        id="effort and budget",
    ),
    pytest.param([HI], {"logit_bias": {"1": 2}}, "logit_bias", id="a bias"),
    pytest.param(
        [HI],
        {"parallel_tool_calls": False, "tools": [{"type": "function", "function": {"name": "f"}}]},
        "parallel_tool_calls",
        id="one call at a time",
    ),
    pytest.param(
        [HI],
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "description": "x", "schema": {"description": "y"}},
            }
        },
        "response_format.json_schema.description",
        id="two descriptions",
    ),
]


@pytest.mark.parametrize(("messages", "fields", "parameter"), REFUSED)
def test_what_cannot_be_expressed_is_refused_by_its_path(messages: Any, fields: Any, parameter: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        sent(chat(*messages, **fields))
    assert refused.value.parameter == parameter


THINKING = [
    pytest.param(
        "gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 0}, id="no thought is a budget of 0"
    ),
    pytest.param("gemini-3-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 0}, id="of later models, too"),
    pytest.param("gemini-2.5-flash", {"reasoning_effort": "high"}, {"thinkingBudget": 24576}, id="an effort in tokens"),
    pytest.param("gemini-3-flash", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "XHIGH"}, id="as a level"),
    pytest.param(
        "gemini-flash-latest", {"reasoning_effort": "low"}, {"thinkingLevel": "LOW"}, id="of an unknown generation"
    ),
    pytest.param("gemini-3-pro", {"thinking": {"type": "enabled"}}, {"includeThoughts": True}, id="thoughts are told"),
    pytest.param("gemini-3-pro", {"thinking": {"type": "disabled"}}, {"thinkingBudget": 0}, id="Databricks' switch"),
    pytest.param(
        "gemini-3-pro",
        {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"},
        {"includeThoughts": True, "thinkingLevel": "LOW"},
        id="as much as an effort, and told",
    ),
]


@pytest.mark.parametrize(("model", "fields", "config"), THINKING)
def test_thinking_is_said_as_the_model_takes_it(model: str, fields: Any, config: Any) -> None:
    assert sent(chat(**fields), model)["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(
    ("choice", "strict", "config"),
    [
        pytest.param(None, False, None, id="nothing is said unasked"),
        pytest.param(None, True, {"mode": "VALIDATED"}, id="strict"),
        pytest.param("auto", True, {"mode": "VALIDATED"}, id="strict and auto"),
        pytest.param("auto", False, {"mode": "AUTO"}, id="auto"),
        pytest.param("required", True, {"mode": "ANY"}, id="required is strict anyway"),
        pytest.param("none", True, {"mode": "NONE"}, id="none"),
    ],
)
def test_tool_choice_and_strict_are_one_mode(choice: Any, strict: bool, config: Any) -> None:
    tool = {"type": "function", "function": {"name": "look", "strict": strict}}
    told = sent(chat(tools=[tool], tool_choice=choice)).get("toolConfig")
    assert told == (config and {"functionCallingConfig": config})


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    assert sent(chat()) == {"contents": [{"parts": [{"text": "Hi"}], "role": "user"}]}


def test_a_turn_in_which_the_model_said_nothing_is_left_out() -> None:
    told = sent(chat(HI, {"role": "assistant", "content": ""}, HI))["contents"]
    assert [content["role"] for content in told] == ["user", "user"]


ROLES_AND_PARTS = [
    pytest.param([{"role": "system", "content": ""}, HI], [("user", 1)], id="an empty instruction"),
    pytest.param([user({"type": "text", "text": ""}, image("gs://a/b.png"))], [("user", 1)], id="beside an image"),
    pytest.param([HI, {"role": "user", "content": ""}], [("user", 1)], id="an empty message"),
]


@pytest.mark.parametrize(("messages", "contents"), ROLES_AND_PARTS)
def test_empty_texts_are_left_out(messages: Any, contents: Any) -> None:
    told = sent(chat(*messages))
    assert [(content["role"], len(content["parts"])) for content in told["contents"]] == contents
    assert "systemInstruction" not in told


def test_instructions_without_a_turn_are_what_the_user_says() -> None:
    told = sent(chat({"role": "system", "content": "Be"}, {"role": "developer", "content": "kind."}))
    assert told == {"contents": [{"role": "user", "parts": [{"text": "Be"}, {"text": "kind."}]}]}


def test_a_call_comes_right_after_what_it_answers() -> None:
    said_and_called = [{"role": "assistant", "content": "Wait."}, {"role": "assistant", "tool_calls": [CALL]}]
    contents = sent(chat(HI, *said_and_called, {"role": "tool", "tool_call_id": "c", "content": "x"}, HI))["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "user"]
    assert [list(part) for part in contents[1]["parts"]] == [["text"], ["functionCall"]]


@pytest.mark.parametrize(
    ("model", "id"),
    [
        pytest.param("gemini-2.5-pro", None, id="Gemini 2.5 refuses them"),
        pytest.param("gemini-3-pro", "c", id="Gemini 3 takes them"),
        pytest.param("gemini-flash-latest", "c", id="the latest takes them"),
        pytest.param("projects/p/locations/l/endpoints/1", None, id="nobody knows of a tuned one"),
    ],
)
def test_ids_go_where_they_are_taken(model: str, id: str | None) -> None:
    turns = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    contents = sent(chat(HI, *turns), model)["contents"]
    assert contents[1]["parts"][0]["functionCall"].get("id") == id
    assert contents[2]["parts"][0]["functionResponse"].get("id") == id


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_without_tools_nothing_is_chosen(choice: str) -> None:
    assert "toolConfig" not in sent(chat(tools=[], tool_choice=choice))


def test_a_schema_that_says_nothing_is_not_sent() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    assert sent(chat(tools=[tool]))["tools"] == [{"functionDeclarations": [{"name": "look"}]}]


def test_results_stand_in_the_order_of_their_calls() -> None:
    calls = [CALL | {"id": f"call_vertex-r-0-{n}"} for n in range(3)]
    results = [{"role": "tool", "tool_call_id": f"call_vertex-r-0-{n}", "content": str(n)} for n in (2, 0, 1)]
    parts = sent(chat(HI, {"role": "assistant", "tool_calls": calls}, *results))["contents"][2]["parts"]
    assert [part["functionResponse"]["response"]["output"] for part in parts] == ["0", "1", "2"]
    assert not any("id" in part["functionResponse"] for part in parts)


def test_a_result_whose_call_is_gone_may_name_its_function() -> None:
    told = sent(chat(HI, {"role": "tool", "tool_call_id": "x", "name": "look", "content": "y"}))
    assert told["contents"][1]["parts"][0]["functionResponse"]["name"] == "look"


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        pytest.param("gemini-3-pro", "skip_thought_signature_validator", id="Gemini 3 demands one"),
        pytest.param("gemini-2.5-pro", None, id="Gemini 2.5 does not"),
    ],
)
def test_a_call_that_nobody_signed_says_so_where_signatures_are_demanded(model: str, signature: str | None) -> None:
    calls = [CALL, CALL | {"id": "d"}]
    parts = sent(chat(HI, {"role": "assistant", "tool_calls": calls}), model)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [signature, None]


def test_a_signature_goes_back_on_what_it_stood_on() -> None:
    call = CALL | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    signed = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "", "signature": "dGV4dA=="}]}
    turns = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "assistant", "content": [signed, {"type": "text", "text": "x"}]},
        {"role": "assistant", "content": [signed]},
    ]
    contents = sent(chat(HI, *turns), "gemini-3-pro")["contents"]
    parts = contents[1]["parts"]
    assert [part["thoughtSignature"] for part in parts] == ["c2ln", "dGV4dA==", "dGV4dA=="]
    assert [part.get("text") for part in parts] == [None, "x", ""]


# Answers


REASONS = [
    pytest.param("STOP", "stop", id="STOP"),
    pytest.param("MAX_TOKENS", "length", id="MAX_TOKENS"),
    pytest.param("CONTINUATION", "length", id="CONTINUATION"),
    *[
        pytest.param(reason, "content_filter", id=reason)
        for reason in (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "OTHER",
            "NEW_ONE",
        )
    ],
]


@pytest.mark.parametrize(("reason", "told"), REASONS)
def test_reasons_for_the_end(reason: str, told: str) -> None:
    choice = answered(said({"text": "x"}, reason=reason))["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"], choice["message"]["refusal"]) == (told, "x", None)


def test_a_blocked_answer_tells_the_reason() -> None:
    message = answered({"finishReason": "SPII"})["choices"][0]["message"]
    assert message["content"] is None and message["refusal"] == "The provider ended the answer: SPII"


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
def test_a_model_that_failed_is_an_error_that_may_be_tried_again(reason: str) -> None:
    with pytest.raises(ProviderError) as whole:
        answered(said(reason=reason))
    with pytest.raises(ProviderError) as stream:
        streamed({"candidates": [said(reason=reason)]})
    assert whole.value.status == stream.value.status == 500 and whole.value.retry


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"candidates": [], "promptFeedback": {}}, id="no reason"),
        pytest.param({"candidates": "x"}, id="another type"),
        pytest.param([{"candidates": []}], id="a list"),
        pytest.param({"candidates": [said({"inlineData": {"mimeType": "image/png", "data": "eA=="}})]}, id="an image"),
    ],
)
def test_what_is_no_answer_is_not_made_one(body: Any) -> None:
    with pytest.raises(Unavailable):
        GeminiChat(VENDOR, "m").reply(Asked(chat(), "m", "request-1", 0), [json.dumps(body).encode()])


def test_calls_without_ids_get_ids_of_their_own_the_same_in_streams() -> None:
    parts = [{"functionCall": {"name": "look", "args": {"a": n}}} for n in range(2)]
    whole = answered(said(*parts, reason="STOP", index=0), said(*parts, reason="STOP", index=1), responseId="r")
    told, stream = streamed(
        {"candidates": [said(parts[0], index=0)], "responseId": "r"},
        {"candidates": [said(parts[0], index=1)]},
        {"candidates": [said(parts[1], reason="STOP", index=1), said(parts[1], reason="STOP", index=0)]},
    )
    ids = [[call["id"] for call in choice["message"]["tool_calls"]] for choice in whole["choices"]]
    assert len({id for choice in ids for id in choice}) == 4
    assert [[call["id"] for call in choice["calls"]] for choice in joined(events_of(told))["choices"]] == ids
    assert stream.complete


def test_ids_differ_from_answer_to_answer() -> None:
    part = {"functionCall": {"name": "look"}}
    one, other = (answered(said(part, reason="STOP"), responseId=id)["choices"][0] for id in ("r1", "r2"))
    assert one["message"]["tool_calls"][0]["id"] != other["message"]["tool_calls"][0]["id"]


def test_arguments_that_are_null_are_an_empty_object() -> None:
    choice = answered(said({"functionCall": {"name": "look", "args": None}}, reason="STOP"))["choices"][0]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_ids_of_our_own_are_as_short_as_openai_wants_them() -> None:
    choice = answered(said({"functionCall": {"name": "look"}}, reason="STOP"), responseId="r" * 99)["choices"][0]
    assert len(choice["message"]["tool_calls"][0]["id"]) <= 40


def test_arguments_are_the_vendors_numbers_without_its_blanks() -> None:
    arguments = b'{\n "n": 1.0,  "big": 12345678901234567890123}'
    part = b'{"functionCall": {"name": "f", "args": %b}}' % arguments
    body = b'{"candidates": [{"content": {"parts": [%b]}}]}' % part
    reply = GeminiChat(VENDOR, "m").reply(Asked(chat(), "m", "request-1", 0), [body])
    call = json.loads(reply.body)["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["arguments"] == '{"n":1.0,"big":12345678901234567890123}'


@pytest.mark.parametrize(("told", "logprob"), [(-1, -1.0), (-0.5, -0.5), ("-Infinity", -9999.0), (None, -9999.0)])
def test_each_probability_is_a_number(told: Any, logprob: float) -> None:
    result = {"chosenCandidates": [{"token": "x", "logProbability": told}]}
    choice = answered(said({"text": "x"}, logprobsResult=result), call=chat(logprobs=True))["choices"][0]
    assert choice["logprobs"]["content"][0]["logprob"] == logprob


def test_tokens_of_tools_and_thoughts_are_counted() -> None:
    counts = {"promptTokenCount": 5, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 3, "thoughtsTokenCount": 4}
    usage = answered(said({"text": "x"}), usageMetadata=counts | {"cachedContentTokenCount": 1})["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 7, 14)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 1}


def test_thoughts_that_are_counted_as_spoken_are_counted_once() -> None:
    counts = {"promptTokenCount": 5, "candidatesTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 14}
    usage = answered(said({"text": "x"}), usageMetadata=counts)["usage"]
    assert (usage["completion_tokens"], usage["total_tokens"]) == (9, 14)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 4}


# Streams


def test_a_reason_that_each_event_repeats_ends_nothing_early() -> None:
    told, stream = streamed(
        {"candidates": [said({"text": "a"}, reason="STOP")]}, {"candidates": [said({"text": "b"}, reason="STOP")]}
    )
    assert joined(events_of(told))["choices"][0]["text"] == "ab"
    assert told.count(b'"finish_reason":"stop"') == 1 and stream.complete


def test_usage_may_follow_the_end() -> None:
    told, stream = streamed(
        {"candidates": [said({"text": "a"}, reason="STOP")]},
        {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}},
        call=chat(stream=True, stream_options={"include_usage": True}),
    )
    assert events_of(told)[-1]["usage"]["total_tokens"] == 3 and stream.usage.total_tokens == 3


def test_the_last_counts_hold() -> None:
    counts = [{"promptTokenCount": 1, "candidatesTokenCount": n} for n in (1, 5)] + [{"trafficType": "ON_DEMAND"}]
    _, stream = streamed(*[{"candidates": [said({"text": "a"})], "usageMetadata": count} for count in counts])
    assert stream.usage.completion_tokens == 5


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing came"),
        pytest.param([{"candidates": [said({"text": "a"})]}], id="no reason"),
        pytest.param(
            [{"candidates": [said({"text": "a"}, reason="STOP", index=0), said({"text": "b"}, index=1)]}],
            id="one of two choices is not at its end",
        ),
    ],
)
def test_a_stream_that_was_cut_is_not_complete(events: Any) -> None:
    told, stream = streamed(*events)
    assert not stream.complete and b"[DONE]" not in told and b'"finish_reason":"' not in told


def test_a_stream_in_snake_case_is_read() -> None:
    part = {"function_call": {"name": "look", "args": {"user_id": 1}}, "thought_signature": "c2ln"}
    told, stream = streamed(
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}]},
        {
            "candidates": [{"content": {"parts": [part]}, "finish_reason": "STOP"}],
            "usage_metadata": {"prompt_token_count": 3},
        },
    )
    choice = joined(events_of(told))["choices"][0]
    assert (choice["text"], choice["finish_reason"], stream.usage.prompt_tokens) == ("a", "tool_calls", 3)
    assert choice["calls"][0]["arguments"] == {"user_id": 1}
    assert choice["calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def test_camel_case_whose_text_looks_like_snake_case_stays_as_it_is() -> None:
    text = 'say "finish_reason": "function_call"'
    assert answered(said({"text": text}, reason="STOP"))["choices"][0]["message"]["content"] == text


@pytest.mark.parametrize(
    ("event", "status"),
    [
        pytest.param(b'{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}', 429, id="its code"),
        pytest.param(b'{"error": {"message": "m", "status": "UNAVAILABLE"}}', 503, id="its status"),
        pytest.param(b'[{"error": {"code": 403, "message": "m"}}]', 403, id="in a list"),
        pytest.param(b'{"error": "m"}', 500, id="a word"),
        pytest.param(b"[1]", 503, id="no event of this API"),
        pytest.param(b"<html>", 503, id="no JSON"),
        pytest.param(b"\xff", 503, id="no text"),
    ],
)
def test_an_error_amid_a_stream_has_its_status(event: bytes, status: int) -> None:
    stream = GeminiChat(VENDOR, "m").stream(Asked(chat(stream=True), "m", "request-1", 0))
    with pytest.raises(ProxyError) as error:
        stream.feed(b"data: %b\n\n" % event)
    assert error.value.status == status


def test_completions_are_text_without_thoughts_and_refusals() -> None:
    fields = parse_fields(b'{"prompt": "x", "stream": true}')
    call = parse_call(Route(task=COMPLETIONS), fields, COMPLETIONS, "endpoint")
    stream = GeminiText(VENDOR, "m").stream(Asked(call, "m", "request-1", 0))
    event = {"candidates": [said({"text": "hm", "thought": True}, reason="SAFETY")]}
    told = stream.feed(b"data: %b\n\n" % json.dumps(event).encode()) + stream.close()
    assert [e["choices"][0]["text"] for e in events_of(told)] == [""]
    assert events_of(told)[0]["choices"][0]["finish_reason"] == "content_filter"
