"""Bedrock: where targets are called and in which dialect, and its frames, whole, cut and damaged."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call, parse_fields
from model_serving.proxy.errors import InvalidParameter, ProviderError, Unavailable
from model_serving.proxy.providers.base import Asked
from model_serving.proxy.providers.bedrock import AmazonBedrock
from model_serving.proxy.providers.bedrock_converse import Converse
from model_serving.proxy.providers.bedrock_embeddings import CohereEmbed, Titan
from model_serving.proxy.providers.bedrock_frames import ERROR, Frames
from model_serving.proxy_config import Target
from tests.proxy.providers.vendors.amazon_bedrock import accept_request, frame, framed, framed_bytes

BEDROCK = AmazonBedrock()
CLAUDE = "anthropic.claude-3-haiku-v1:0"
HOST = "https://bedrock-runtime.eu-central-1.amazonaws.com"


def target(model: str = CLAUDE, task: str = CHAT, maker: str = "anthropic", **settings: str) -> Target:
    known = {"aws_region": "eu-central-1", "bedrock_provider": maker} | settings
    return Target("entity", "amazon-bedrock", task, model, settings=known)


def chat(body: dict[str, Any], *, stream: bool = False) -> Call:
    return Call(
        CHAT, parse_fields(json.dumps({"messages": [{"role": "user", "content": "Hi"}]} | body).encode()), stream
    )


@pytest.mark.parametrize(
    ("asked", "stream", "url"),
    [
        pytest.param(target(), False, f"{HOST}/model/anthropic.claude-3-haiku-v1%3A0/converse", id="an answer"),
        pytest.param(target("m"), True, f"{HOST}/model/m/converse-stream", id="a stream"),
        pytest.param(target("m", COMPLETIONS), True, f"{HOST}/model/m/converse-stream", id="a completion"),
        pytest.param(target("m", EMBEDDINGS), False, f"{HOST}/model/m/invoke", id="embeddings"),
        pytest.param(target("m", EMBEDDINGS), True, f"{HOST}/model/m/invoke", id="embeddings have no stream"),
        pytest.param(
            target("m", aws_region="cn-north-1"),
            False,
            "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/m/converse",
            id="China has a domain of its own",
        ),
        pytest.param(
            target("m", aws_region="eusc-de-east-1"),
            False,
            "https://bedrock-runtime.eusc-de-east-1.amazonaws.eu/model/m/converse",
            id="the European Sovereign Cloud has one too",
        ),
        pytest.param(
            target("m", aws_endpoint_url="http://gateway:8080/aws/"),
            False,
            "http://gateway:8080/aws/model/m/converse",
            id="another endpoint, with a path",
        ),
        pytest.param(
            target("arn:aws:bedrock:eu-central-1:1:inference-profile/eu.m"),
            False,
            f"{HOST}/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Feu.m/converse",
            id="an ARN is one segment of the path",
        ),
        pytest.param(target("../x"), False, f"{HOST}/model/..%2Fx/converse", id="no way out of the path"),
    ],
)
def test_where_a_target_is_called(asked: Target, stream: bool, url: str) -> None:
    assert BEDROCK.url(asked, stream) == url


@pytest.mark.parametrize("model", ["", ".", ".."])
def test_a_model_must_have_a_name(model: str) -> None:
    with pytest.raises(ValueError, match="not the name of a model"):
        BEDROCK.url(target(model), False)


@pytest.mark.parametrize("region", ["", "eu.example.com/", "EU", "a@b"])
def test_a_region_cannot_name_another_host(region: str) -> None:
    with pytest.raises(ValueError, match="is not a region"):
        BEDROCK.url(target(aws_region=region), False)


@pytest.mark.parametrize(
    ("asked", "dialect"),
    [
        (target(maker="ANTHROPIC"), Converse("amazon-bedrock", "anthropic", False)),
        (target(maker="AI21Labs", task=COMPLETIONS), Converse("amazon-bedrock", "ai21labs", True)),
        (target("amazon.titan-embed-text-v1", EMBEDDINGS, "amazon"), Titan("amazon-bedrock", False)),
        (target("amazon.titan-embed-g1-text-02", EMBEDDINGS, "amazon"), Titan("amazon-bedrock", False)),
        (target("amazon.titan-embed-text-v2:0", EMBEDDINGS, "Amazon"), Titan("amazon-bedrock", True)),
        (target("cohere.embed-english-v3", EMBEDDINGS, "cohere"), CohereEmbed("amazon-bedrock", False)),
        (target("global.cohere.embed-v4:0", EMBEDDINGS, "cohere"), CohereEmbed("amazon-bedrock", True)),
    ],
    ids=lambda value: value.model if isinstance(value, Target) else "",
)
def test_the_maker_and_the_model_choose_the_dialect(asked: Target, dialect: Any) -> None:
    assert BEDROCK.dialect(asked) == dialect


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (target(maker="meta"), "bedrock_provider meta is not known"),
        (target(maker="anthropic", task=EMBEDDINGS), "bedrock_provider anthropic has no embeddings"),
    ],
)
def test_a_maker_that_cannot_be(asked: Target, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BEDROCK.dialect(asked)


def test_without_a_maker_there_is_no_dialect() -> None:
    with pytest.raises(KeyError):
        BEDROCK.dialect(Target("entity", "amazon-bedrock", CHAT, CLAUDE, settings={"aws_region": "eu-central-1"}))


@pytest.mark.parametrize(
    ("choice", "single", "told", "own"),
    [
        ("auto", False, {"auto": {}}, None),
        ("required", False, {"any": {}}, None),
        ({"type": "function", "function": {"name": "f"}}, False, {"tool": {"name": "f"}}, None),
        (None, True, None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", True, None, {"type": "any", "disable_parallel_tool_use": True}),
        (
            {"type": "function", "function": {"name": "f"}},
            True,
            None,
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_the_choice_of_tools_is_told_once(choice: Any, single: bool, told: Any, own: Any) -> None:
    """The vendor refuses a request that tells it in both places."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = chat({"tools": tools, "tool_choice": choice, "parallel_tool_calls": not single})
    (raw,) = Converse("amazon-bedrock", "anthropic", False).request(call)
    body = json.loads(raw)
    accept_request("chat", False, "/model/m/converse", body)
    assert body["toolConfig"].get("toolChoice") == told
    assert body.get("additionalModelRequestFields", {}).get("tool_choice") == own


def test_no_budget_of_thoughts_without_the_clients_word() -> None:
    (raw,) = Converse("amazon-bedrock", "anthropic", False).request(chat({"thinking": {"type": "adaptive"}}))
    assert json.loads(raw)["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}


# Frames

TEXT = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Grüße"}, "p": "abc"})
STOP = frame("messageStop", {"stopReason": "end_turn"})


def test_frames_are_what_botocore_reads() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(TEXT + STOP)
    read = [(message.headers[":event-type"].encode(), message.payload) for message in buffer]
    assert Frames().feed(TEXT + STOP) == read


def test_frames_may_be_cut_at_any_byte() -> None:
    data = TEXT + STOP + TEXT
    whole = Frames().feed(data)
    assert len(whole) == 3
    for first in range(len(data) + 1):
        frames = Frames()
        assert frames.feed(data[:first]) + frames.feed(data[first:]) == whole
        assert frames.close() == []
    frames = Frames()
    assert [event for a, b in pairwise(range(len(data) + 1)) for event in frames.feed(data[a:b])] == whole


@pytest.mark.parametrize("at", range(0, len(TEXT), 7))
def test_a_damaged_frame_is_found_after_what_came_before(at: int) -> None:
    damaged = bytearray(TEXT)
    damaged[at] ^= 1
    for data in ([STOP + bytes(damaged) + STOP], [STOP, bytes(damaged), STOP]):
        frames = Frames()
        assert [name for name, _ in frames.feed(data[0])] == [b"messageStop"]
        with pytest.raises(Unavailable, match="damaged"):
            for piece in data[1:]:
                frames.feed(piece)
            frames.close()


def test_a_frame_that_would_be_huge_is_refused_before_it_is_collected() -> None:
    huge = framed({":message-type": "event"}, b"x" * (16 * 1024 * 1024))
    with pytest.raises(Unavailable, match="damaged"):
        Frames().feed(huge[:100])


def test_a_head_that_would_be_huge_is_refused_before_it_is_remembered() -> None:
    head = b"\x01y\x06\xff\xff" + bytes(0xFFFF)
    assert Frames().feed(framed_bytes(head, b"{}"))
    with pytest.raises(Unavailable, match="damaged"):
        Frames().feed(framed_bytes(head * 3, b"{}"))


def test_headers_of_other_types_are_passed_over() -> None:
    """Numbers, times, bytes: none of them is needed, any may come."""
    head = b"\x01t\x00" + b"\x01f\x01" + b"\x01b\x02\x05" + b"\x01s\x03\x00\x05" + b"\x01i\x04" + bytes(4)
    head += b"\x01l\x05" + bytes(8) + b"\x01y\x06\x00\x02ab" + b"\x01d\x08" + bytes(8) + b"\x01u\x09" + bytes(16)
    head += b"\x0b:event-type\x07\x00\x0bmessageStop"
    assert Frames().feed(framed_bytes(head, b"{}")) == [(b"messageStop", b"{}")]


@pytest.mark.parametrize("head", [b"\x05ab", b"\x01a\x07\x00", b"\x01a", b"\x01\xff\x07\x00\x01a"])
def test_headers_that_cannot_be_are_damage(head: bytes) -> None:
    with pytest.raises(Unavailable, match="damaged"):
        Frames().feed(framed_bytes(head, b"{}"))


# Streams


def translated(data: bytes, body: dict[str, Any] | None = None) -> tuple[bytes, bool]:
    stream = Converse("amazon-bedrock", "anthropic", False).stream(Asked(chat(body or {}, stream=True), "m", "id", 1))
    told = stream.feed(data) + stream.close()
    return told, stream.complete


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    told, complete = translated(TEXT)
    assert b'"Gr' in told and not complete and b"[DONE]" not in told


def test_an_event_that_nobody_knows_is_passed_over() -> None:
    told, complete = translated(frame("novelty", {"x": 1}) + TEXT + STOP)
    assert complete and told.endswith(b"data: [DONE]\n\n")


def test_text_after_the_usage_is_nobodys() -> None:
    usage = frame("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {}})
    told, _ = translated(TEXT + STOP + usage + TEXT)
    assert told.count("Grüße".encode()) == 1


def test_a_block_of_text_may_be_announced() -> None:
    start = frame("contentBlockStart", {"contentBlockIndex": 0, "start": {}})
    assert translated(start + TEXT + STOP) == translated(TEXT + STOP)


def test_citations_are_passed_over_and_text_within_them_is_told() -> None:
    citation = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": {"title": "t"}}})
    told, complete = translated(TEXT + citation + STOP)
    assert complete and "Grüße".encode() in told


@pytest.mark.parametrize(
    "event",
    [
        frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}),
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolResult": [{"text": "x"}]}}),
    ],
)
def test_content_without_a_form_in_chat_is_not_left_out_in_silence(event: bytes) -> None:
    with pytest.raises(Unavailable, match="cannot tell"):
        translated(event)


@pytest.mark.parametrize(
    "event",
    [
        frame("contentBlockDelta", {"contentBlockIndex": 3, "delta": {"toolUse": {"input": "{}"}}}),
        frame("contentBlockDelta", {"delta": {"text": 5}}),
        frame("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": "="}}}),
        frame("messageStop", {}),
        framed({":event-type": "metadata"}, b"not JSON"),
    ],
)
def test_events_that_cannot_be_are_told_as_such(event: bytes) -> None:
    with pytest.raises(Unavailable, match="is not what its API says"):
        translated(event)


def test_an_error_without_a_shape_is_told_with_its_words() -> None:
    error = framed({":message-type": "error", ":error-code": "InternalFailure", ":error-message": "It broke."}, b"")
    assert Frames().feed(error) == [(ERROR + b"InternalFailure", b'{"message":"It broke."}')]
    with pytest.raises(ProviderError, match=r"It broke\.") as caught:
        translated(error)
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("throttlingException", 429),
        ("validationException", 400),
        ("serviceUnavailableException", 503),
        ("internalServerException", 500),
        ("modelStreamErrorException", 500),
        ("modelTimeoutException", 504),
        ("somethingNewException", 500),
    ],
)
def test_an_error_that_comes_first_has_its_status(kind: str, status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        translated(frame(kind, {"message": "No."}, "exception"))
    assert caught.value.status == status and "No." in caught.value.message


def test_embeddings_of_another_number_than_texts_are_refused() -> None:
    call = Call(EMBEDDINGS, parse_fields(b'{"input":["a","b"]}'), False)
    answer = b'{"embeddings":[[1.0]]}'
    with pytest.raises(Unavailable, match="1 embeddings for 2 texts"):
        CohereEmbed("amazon-bedrock", False).reply(Asked(call, "m", "id", 1), [answer])


def test_an_answer_with_content_without_a_form_in_chat_is_refused() -> None:
    body = {"output": {"message": {"role": "assistant", "content": [{"image": {}}]}}, "stopReason": "end_turn"}
    with pytest.raises(Unavailable, match="cannot tell"):
        Converse("amazon-bedrock", "amazon", False).reply(Asked(chat({}), "m", "id", 1), [json.dumps(body).encode()])


def test_image_urls_are_refused_in_tool_results_too() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = [{"role": "tool", "tool_call_id": "1", "content": [image]}]
    with pytest.raises(InvalidParameter) as caught:
        Converse("amazon-bedrock", "anthropic", False).request(chat({"messages": messages}))
    assert caught.value.parameter == "messages[0].content[0].image_url.url"
