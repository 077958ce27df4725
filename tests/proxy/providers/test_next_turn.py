"""The next turn: what an answer said goes back to its vendor, in each way that the openai package sends it.

The package's own objects hold more than the API told: nulls, `parsed`, `parsed_arguments`, `index`.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from model_serving.proxy.call import CHAT, Route, parse_call, parse_fields
from tests.proxy.providers.answers import events_of
from tests.proxy.providers.golden import Case, cases

FORMS = {
    "object": lambda message: message,
    "model_dump": lambda message: message.model_dump(),
}


def _translated(case: Case) -> bool:
    if case.task != "chat" or case.dialect.features.fields is None:
        return False
    if not case.has("answer.sse"):
        return case.has("answer.json") and case.read("answer.json").get("object") == "chat.completion"
    told = (case.folder / "answer.sse").read_bytes()
    return told.endswith(b"[DONE]\n\n") and b'"content":[' not in told  # the package joins no lists


CASES = [pytest.param(case, id=case.name) for case in cases() if _translated(case)]


def said_in(case: Case) -> list[Any]:
    """The messages of an answer, as the package's objects."""
    if case.has("answer.json"):
        return [choice.message for choice in ChatCompletion.construct(**case.read("answer.json")).choices]
    state: Any = ChatCompletionStreamState()
    for event in events_of((case.folder / "answer.sse").read_bytes()):
        state.handle_chunk(ChatCompletionChunk.model_validate(event))
    return [choice.message for choice in state.current_completion_snapshot.choices]


class Line(httpx.BaseTransport):
    """Keeps what the package sends, and refuses it."""

    def __init__(self) -> None:
        self.sent = b""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent = request.read()
        return httpx.Response(400, json={})


LINE = Line()
CLIENT = OpenAI(api_key="sk-test", base_url="http://host/v1", max_retries=0, http_client=httpx.Client(transport=LINE))


def sent(messages: list[Any], rest: dict[str, Any]) -> bytes:
    """The body that the package sends."""
    with pytest.raises(BadRequestError):
        CLIENT.chat.completions.create(model="endpoint", messages=messages, extra_body=rest)
    return LINE.sent


def next_turn(case: Case, message: Any, form: str) -> bytes:
    """The call after an answer, with the results of the tools that it calls."""
    results = [{"role": "tool", "tool_call_id": call.id, "content": "done"} for call in message.tool_calls or ()]
    then = results or [{"role": "user", "content": "And then?"}]
    asked = dict(case.asked["body"])
    messages = [*asked.pop("messages"), FORMS[form](message), *then]
    return sent(messages, asked | ({"stream": True} if case.stream else {}))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of Databricks' lists of thoughts and text
@pytest.mark.parametrize("case", CASES)
def test_an_answer_goes_back_to_the_vendor_as_the_openai_package_sends_it(case: Case) -> None:
    for message in said_in(case):
        for form in FORMS:
            body = next_turn(case, message, form)
            call = parse_call(Route(task=CHAT), parse_fields(body), CHAT, "endpoint")
            (request,) = case.dialect.request(call)
            case.vendor.accept_request(case.task, case.stream, case.path, json.loads(request))


@pytest.mark.parametrize("name", ["google_cloud_vertex_ai", "cohere", "anthropic", "amazon_bedrock"])
def test_what_the_package_has_read_for_its_user_is_left_out(name: str) -> None:
    case = next(case for case in cases() if case.name == f"{name}/text")
    message = {
        "role": "assistant",
        "content": '{"city": "Paris"}',
        "parsed": {"city": "Paris"},
        "tool_calls": [
            {
                "id": "c",
                "type": "function",
                "function": {"name": "look", "arguments": '{"a": 1}', "parsed_arguments": {"a": 1}},
            }
        ],
    }
    result = {"role": "tool", "tool_call_id": "c", "content": "done"}
    asked = case.asked["body"]
    body = json.dumps(asked | {"messages": [*asked["messages"], message, result]}).encode()
    (request,) = case.dialect.request(parse_call(Route(task=CHAT), parse_fields(body), CHAT, "endpoint"))
    case.vendor.accept_request(case.task, False, case.path, json.loads(request))
    assert b"parsed" not in request
