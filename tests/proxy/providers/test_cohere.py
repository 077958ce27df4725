"""Provider `cohere`: where it is called, and what its golden cases cannot show: words outside the vendor's types."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call
from model_serving.proxy.credentials.scheme import Bearer
from model_serving.proxy.errors import ProviderError, ProxyError, Unavailable
from model_serving.proxy.providers.base import Asked, Dialect, Reply
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy_config import CredentialFile, Target

COHERE = PROVIDERS["cohere"]
KEY = CredentialFile("s", "k")
END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}


def target(task: str = CHAT, **settings: str) -> Target:
    return Target("e", "cohere", task, "command-a", settings=settings, credentials={"cohere_api_key": KEY})


def asked(task: str = CHAT, stream: bool = False, **fields: Any) -> Asked:
    own = {"messages": [{"role": "user", "content": "hello"}]} if task == CHAT else {}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in (own | fields).items()}
    return Asked(Call(task, raw, stream), "command-a", "ours", 1)


def dialect(task: str = CHAT) -> Dialect:
    return COHERE.dialect(target(task))


def reply(body: Any) -> Reply:
    return dialect().reply(asked(), [json.dumps(body).encode()])


def stream(*events: Any) -> list[Any]:
    """What the client gets for a stream of these events, as JSON."""
    translator = dialect().stream(asked(stream=True))
    told = b"".join(translator.feed(b"data: %b\n\n" % json.dumps(event).encode()) for event in events)
    told += translator.close()
    return [json.loads(event[6:]) for event in told.split(b"\n\n") if event and event != b"data: [DONE]"]


def said(events: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize(
    ("task", "settings", "url"),
    [
        (CHAT, {}, "https://api.cohere.com/v2/chat"),
        (COMPLETIONS, {}, "https://api.cohere.com/v2/chat"),
        (EMBEDDINGS, {}, "https://api.cohere.com/v2/embed"),
        (CHAT, {"cohere_api_base": "https://api.cohere.ai/v1"}, "https://api.cohere.ai/v2/chat"),
        (CHAT, {"cohere_api_base": "https://h:1/cohere/v2/"}, "https://h:1/cohere/v2/chat"),
        (EMBEDDINGS, {"cohere_api_base": "http://h/"}, "http://h/v2/embed"),
    ],
)
def test_it_is_called_by_version_2_whatever_version_the_base_ends_in(
    task: str, settings: dict[str, str], url: str
) -> None:
    assert COHERE.url(target(task, **settings), False) == url


def test_its_key_is_a_bearer_token() -> None:
    assert COHERE.scheme(target()) == Bearer(KEY)


def sent(*messages: Any) -> Any:
    """The messages that the vendor gets."""
    return json.loads(dialect().request(asked(messages=list(messages)).call)[0])["messages"]


HELLO = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param({"role": "assistant", "content": ""}, id="an empty answer"),
        pytest.param({"role": "assistant", "content": None, "refusal": None}, id="no content"),
        pytest.param({"role": "system", "content": ""}, id="an empty instruction"),
    ],
)
def test_turns_that_say_nothing_are_left_out(silent: Any) -> None:
    assert sent(HELLO, silent, HELLO) == [HELLO, HELLO]


def test_a_call_without_arguments_goes_back_with_an_empty_object() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": ""}}
    assert sent(HELLO, {"role": "assistant", "tool_calls": [call]})[1]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_the_media_type_of_a_jpeg_is_its_proper_one() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}}
    (turn,) = sent({"role": "user", "content": [image]})
    assert turn["content"][0]["image_url"]["url"] == "data:image/jpeg;base64,AAAA"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        pytest.param("ERROR_TOXIC", "content_filter", id="an answer that was found toxic"),
        pytest.param("ERROR_LIMIT", "length", id="the end of the model's context"),
        pytest.param("SOMETHING_NEW", "stop", id="a reason that nobody knows yet"),
        pytest.param(None, "stop", id="no reason"),
    ],
)
def test_reasons_that_the_vendors_types_do_not_have_end_an_answer(told: str | None, reason: str) -> None:
    found = json.loads(reply({"message": {"content": []}, "finish_reason": told}).body)
    assert found["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(("told", "status"), [("ERROR", 500), ("TIMEOUT", 504)])
def test_a_failure_is_an_error_whole_and_amid_a_stream_and_what_was_used_counts(told: str, status: int) -> None:
    with pytest.raises(ProviderError) as whole:
        reply({"message": {"content": [{"type": "text", "text": "Bon"}]}, "finish_reason": told})
    assert whole.value.status == status
    translator = dialect().stream(asked(stream=True))
    end = {"type": "message-end", "delta": {"finish_reason": told, "usage": {"tokens": {"input_tokens": 3.0}}}}
    with pytest.raises(ProviderError) as amid:
        translator.feed(b"data: %b\n\n" % json.dumps(end).encode())
    assert amid.value.status == status
    assert translator.usage is not None and translator.usage.prompt_tokens == 3
    assert not translator.complete


def test_a_stream_as_the_vendor_really_sends_it_is_read() -> None:
    """Its first event holds empty lists, which its types do not tell of."""
    message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    told = stream(
        {"id": "m-1", "type": "message-start", "delta": {"message": message}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": "B"}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"type": "text", "text": "on"}}}},
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": [{"start": 0}]}}},
        {"type": "debug", "prompt": "<BOS>"},
        {"type": "something-new", "delta": ["x"]},
        {"type": "content-end", "index": 0},
        END,
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "after the end"}}}},
    )
    assert said(told) == "Bon"
    assert {event["id"] for event in told} == {"m-1"}


def test_tool_calls_are_counted_from_0_although_content_shares_the_vendors_numbers() -> None:
    def call(kind: str, index: int | None, **told: Any) -> Any:
        return {"type": kind, "index": index, "delta": {"message": {"tool_calls": told}}}

    told = stream(
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"thinking": "hm"}}}},
        call("tool-call-start", 1, id="a", function={"name": "f", "arguments": '{"x":'}),
        call("tool-call-start", 2, id="b", function={"name": "g"}),
        call("tool-call-delta", 1, function={"arguments": "1}"}),
        call("tool-call-delta", None, function={"arguments": "[]"}),
        END,
    )
    calls = [call for event in told for choice in event["choices"] for call in choice["delta"].get("tool_calls", ())]
    assert [(call["index"], call["function"].get("arguments")) for call in calls] == [
        (0, ""),
        (0, '{"x":'),
        (1, ""),
        (0, "1}"),
        (1, "[]"),
    ]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param({"message": "internal server error"}, ProviderError, id="an error in place of an event"),
        pytest.param({"type": "content-delta", "delta": "text"}, Unavailable, id="an event of the wrong shape"),
        pytest.param({}, Unavailable, id="nothing"),
        pytest.param([1], Unavailable, id="no object"),
        pytest.param(
            {"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": "{"}}}}},
            Unavailable,
            id="a piece of a call that has not begun",
        ),
    ],
)
def test_a_stream_that_cannot_be_is_an_error(event: Any, error: type[ProxyError]) -> None:
    with pytest.raises(error):
        stream(event)


def test_a_stream_without_its_end_is_not_complete() -> None:
    translator = dialect().stream(asked(stream=True))
    translator.feed(b'data: {"type":"message-start","id":"m"}\n\n')
    translator.close()
    assert not translator.complete


@pytest.mark.parametrize("count", [1, 96, 97, 200])
def test_texts_go_in_batches_and_come_back_in_their_order(count: int) -> None:
    texts = [f"t{number}" for number in range(count)]
    call = asked(EMBEDDINGS, input=texts)
    bodies = [json.loads(body) for body in dialect(EMBEDDINGS).request(call.call)]
    assert [text for body in bodies for text in body["texts"]] == texts
    assert max(len(body["texts"]) for body in bodies) <= 96
    answers = [
        {
            "embeddings": {"float": [[float(t[1:])] for t in body["texts"]]},
            "meta": {"billed_units": {"input_tokens": 2}},
        }
        for body in bodies
    ]
    found = dialect(EMBEDDINGS).reply(call, [json.dumps(answer).encode() for answer in answers])
    assert [item["embedding"] for item in json.loads(found.body)["data"]] == [[float(n)] for n in range(count)]
    assert found.usage is not None and found.usage.prompt_tokens == 2 * len(bodies)


def test_embeddings_without_usage_and_too_few_of_them() -> None:
    call = asked(EMBEDDINGS, input=["a"])
    assert dialect(EMBEDDINGS).reply(call, [b'{"embeddings":{"float":[[1]]}}']).usage is None
    with pytest.raises(Unavailable, match="0 embeddings for 1"):
        dialect(EMBEDDINGS).reply(call, [b'{"embeddings":{"float":[]}}'])


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"message":1}', b'{"text":"an answer of version 1"}', b"\xff"])
def test_an_answer_that_cannot_be_is_an_error(body: bytes) -> None:
    with pytest.raises(Unavailable):
        dialect().reply(asked(), [body])
