"""Paths and bodies: which endpoint, which task, which fields."""

from __future__ import annotations

import msgspec
import pytest

from model_serving.proxy import call
from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Route, parse_call, parse_fields, route_of
from model_serving.proxy.errors import BadRequest, EndpointNotFound, InvalidParameter, MethodNotAllowed


@pytest.mark.parametrize(
    ("path", "route"),
    [
        pytest.param("/serving-endpoints/a/invocations", Route("a"), id="by name"),
        pytest.param("/serving-endpoints/a/invocations?", Route("a"), id="an empty query"),
        pytest.param("/serving-endpoints/a/invocations?x=/b/", Route("a"), id="a query with slashes"),
        pytest.param("/serving-endpoints/a%5Fb/invocations", Route("a_b"), id="an encoded name"),
        pytest.param("/serving-endpoints/a%2Fb/invocations", Route("a/b"), id="an encoded slash stays in the name"),
        pytest.param("/serving-endpoints/a/served-models/b/invocations", Route("a", "b"), id="one entity"),
        pytest.param("/serving-endpoints/chat/invocations", Route("chat"), id="an endpoint called chat"),
        pytest.param("/serving-endpoints/models/invocations", Route("models"), id="an endpoint called models"),
        pytest.param("/serving-endpoints/served-models/invocations", Route("served-models"), id="called served-models"),
        pytest.param("/serving-endpoints/completions/invocations", Route("completions"), id="called completions"),
        pytest.param("/serving-endpoints/chat/completions", Route(task=CHAT), id="OpenAI chat"),
        pytest.param("/serving-endpoints/completions", Route(task=COMPLETIONS), id="OpenAI completions"),
        pytest.param("/serving-endpoints/embeddings", Route(task=EMBEDDINGS), id="OpenAI embeddings"),
        pytest.param("http://h:1/serving-endpoints/a/invocations", Route("a"), id="absolute form"),
    ],
)
def test_the_whole_path_decides(path: str, route: Route) -> None:
    assert route_of(b"POST", path.encode()) == route


@pytest.mark.parametrize(
    "path",
    ["/", "*",  "/serving-endpoints", "/serving-endpoints/", "/serving-endpoints/a", "/serving-endpoints//invocations",
     "/serving-endpoints/a/invocations/", "/Serving-endpoints/a/invocations",
     "/x/a/invocations", "/serving-endpoints/chat",
     "/serving-endpoints/chat%2Fcompletions", "/serving-endpoints/a/b/c/invocations", "/serving-endpoints/responses"],
)  # fmt: skip
def test_other_paths_do_not_exist(path: str) -> None:
    with pytest.raises(EndpointNotFound):
        route_of(b"POST", path.encode())


def test_a_path_that_is_too_long_does_not_exist_and_is_not_remembered() -> None:
    before = call._route_of.cache_info().currsize
    with pytest.raises(EndpointNotFound):
        route_of(b"POST", b"/serving-endpoints/%b/invocations" % (b"a" * 1024))
    assert call._route_of.cache_info().currsize == before


def test_models_is_read_with_get() -> None:
    assert route_of(b"GET", b"/serving-endpoints/models").models
    with pytest.raises(MethodNotAllowed):
        route_of(b"POST", b"/serving-endpoints/models")


def fields_of(body: bytes) -> dict[str, object]:
    fields = parse_call(Route("ep"), {"messages": msgspec.Raw(b"[]")} | parse_fields(body), CHAT, "ep").fields
    return {name: msgspec.json.decode(value) for name, value in fields.items() if name != "messages"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        pytest.param(b'{"client_request_id": "x", "usage_context": {}, "databricks_options": {}, "a": 1}', {"a": 1},
                     id="Databricks' own fields are taken out"),
        pytest.param(b'{"extra_params": {"top_k": "5", "a": "0.5", "b": "true", "c": "yes", "d": "1e3"}}',
                     {"top_k": 5, "a": 0.5, "b": True, "c": "yes", "d": 1000.0}, id="extra_params become numbers"),
        pytest.param(b'{"extra_params": {"a": "NaN", "b": "null", "c": "", "d": "01", "e": " 5 "}}',
                     {"a": "NaN", "b": "null", "c": "", "d": "01", "e": 5}, id="or stay strings"),
        pytest.param(b'{"extra_params": {"a": 5, "b": [1], "c": {"d": null}}}', {"a": 5, "b": [1], "c": {"d": None}},
                     id="values that are no strings stay"),
        pytest.param(b'{"extra_params": {"a": "1"}, "a": 2}', {"a": 2}, id="the body's own field wins"),
        pytest.param(b'{"extra_params": null, "a": 2}', {"a": 2}, id="no extra_params, but their name"),
        pytest.param(b'{"extra_params": {"client_request_id": "x", "stream": "true"}}', {"stream": True},
                     id="extra_params smuggle nothing past us"),
        pytest.param(b'{"unknown": {"deep": [1, 2]}}', {"unknown": {"deep": [1, 2]}}, id="unknown fields stay"),
        pytest.param(b'{"a": 1, "a": 2}', {"a": 2}, id="the last of two counts"),
    ],
)  # fmt: skip
def test_the_fields_that_a_provider_sees(body: bytes, fields: dict[str, object]) -> None:
    assert fields_of(body) == fields


def test_numbers_keep_their_digits() -> None:
    raw = parse_fields(b'{"extra_params": {"seed": "123456789012345678901234567890"}, "x": 1.10}')
    assert bytes(raw["seed"]) == b"123456789012345678901234567890"
    assert bytes(raw["x"]) == b"1.10"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b'{"a":}', b"\xff", b'{"a": 1}{'])
def test_what_is_no_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_fields(body)


@pytest.mark.parametrize(
    ("task", "body", "stream"),
    [
        pytest.param(CHAT, b'{"messages": []}', False, id="chat"),
        pytest.param(CHAT, b'{"messages": [], "stream": true}', True, id="a stream"),
        pytest.param(CHAT, b'{"messages": [], "stream": false}', False, id="stream said to be off"),
        pytest.param(CHAT, b'{"messages": [], "stream": null}', False, id="stream null"),
        pytest.param(CHAT, b'{"messages": [], "input": "x"}', False, id="own field and another's"),
        pytest.param(COMPLETIONS, b'{"prompt": "x"}', False, id="completions"),
        pytest.param(COMPLETIONS, b'{"prompt": ["x"], "stream": true}', True, id="completions as a stream"),
        pytest.param(EMBEDDINGS, b'{"input": "x"}', False, id="embeddings"),
        pytest.param(EMBEDDINGS, b'{"input": [[1, 2]], "stream": true}', False, id="embeddings never stream"),
    ],
)
def test_the_endpoints_own_task_is_served(task: str, body: bytes, stream: bool) -> None:
    call = parse_call(Route("ep"), parse_fields(body), task, "ep")
    assert (call.task, call.stream) == (task, stream)


@pytest.mark.parametrize(
    ("route", "task", "body", "parameter"),
    [
        pytest.param(Route("ep"), EMBEDDINGS, b'{"messages": []}', "messages", id="messages to embeddings"),
        pytest.param(Route(task=CHAT), EMBEDDINGS, b'{"input": "x"}', "messages", id="the chat route to embeddings"),
        pytest.param(Route("ep"), CHAT, b"{}", "messages", id="nothing"),
        pytest.param(Route("ep"), CHAT, b'{"messages": {}}', "messages", id="messages an object"),
        pytest.param(Route("ep"), COMPLETIONS, b'{"prompt": 5}', "prompt", id="prompt a number"),
        pytest.param(Route("ep"), EMBEDDINGS, b'{"input": null}', "input", id="input null"),
        pytest.param(Route("ep"), CHAT, b'{"messages": [], "stream": 1}', "stream", id="stream a number"),
    ],
)
def test_other_calls_are_refused_with_the_field_named(route: Route, task: str, body: bytes, parameter: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_call(route, parse_fields(body), task, "ep")
    assert caught.value.parameter == parameter
