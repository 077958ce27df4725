"""Whatever is sent: an answer below 500, with a code that clients know, and words of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_serving.management.call import MAX_BODY_BYTES
from model_serving.management.operations import OPERATIONS
from tests.article import CREATE, UPDATE
from tests.management.rest import API, AT, CODES, NAME, RETRIED, connect, create_body, good, refused, workspace

CODES = {**CODES, 408: {"INVALID_PARAMETER_VALUE"}}
JSON = {"Content-Type": "application/json"}
ROUTES = sorted({(row.method, row.path) for row in OPERATIONS})
WRITES = [(method, path) for method, path in ROUTES if method in ("POST", "PUT", "PATCH")]

RAW: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"{", "JSON"),
    "a list": (b"[]", "object"),
    "a string": (b'"name"', "object"),
    "null": (b"null", "object"),
    "a number": (b"1", "object"),
    "not UTF-8": (b'{"name": "\xff"}', "JSON"),
    "half a character": (b'{"name": "\\ud800"}', "JSON"),
    "NaN": (b'{"calls": NaN}', "NaN"),
    "a number beyond all": (b'{"calls": 1e999}', "number"),
    "an integer beyond all": (b'{"calls": ' + b"9" * 5000 + b"}", "JSON"),
    "a field twice": (b'{"name": "a", "name": "b"}', "name"),
    "a field twice deep inside": (b'{"tags": [{"key": "a", "key": "b"}]}', "key"),
    "nested by a thousand": (b'{"a": ' * 1000 + b"1" + b"}" * 1000, ""),
    "nested by a hundred thousand": (b"[" * 100_000 + b"]" * 100_000, ""),
}


@pytest.mark.parametrize("case", RAW)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", API), ("PUT", AT + "/config"), ("PATCH", AT + "/tags")],
    ids=["create", "config", "tags"],
)
async def test_a_body_that_is_no_object_is_400(rest: httpx.AsyncClient, method: str, path: str, case: str) -> None:
    raw, word = RAW[case]
    refused(await rest.request(method, path, content=raw, headers=JSON), 400, word)


async def test_a_huge_body_is_413(rest: httpx.AsyncClient) -> None:
    body = json.dumps({"name": "a", "description": "x" * MAX_BODY_BYTES})
    refused(await rest.post(API, content=body, headers=JSON), 413, "smaller")


async def test_a_huge_list_is_refused_in_few_words(rest: httpx.AsyncClient) -> None:
    body = create_body() | {"tags": [{"key": 1} for _ in range(20_000)]}
    assert len(refused(await rest.post(API, json=body), 400, "tags")) < 4000


@pytest.mark.parametrize(
    "name",
    [
        "%00",
        "%0a",
        "a%0d%0ab",
        "%F0%9F%92%A5",
        "..%2f..%2fetc",
        "%2e%2e",
        "a" * 5000,
        "%ff",
        "a%20b",
        "{{secrets}}",
        "'--",
    ],
    ids=repr,
)
async def test_hostile_names_are_not_found(rest: httpx.AsyncClient, endpoint: str, name: str) -> None:
    for method, tail in [("GET", ""), ("DELETE", ""), ("PUT", "/config"), ("PATCH", "/tags"), ("GET", "/metrics")]:
        answer = await rest.request(method, f"{API}/{name}{tail}", json=UPDATE)
        message = refused(answer, 404)
        assert len(message) < 300 and message.isprintable()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize(
    "tail", ["", "/", "/x", "/x/config", "/x/tags", "/pt", "/x/config:cancel", "/x/served-models/y/logs"]
)
async def test_other_methods_are_405_with_those_that_are_allowed(
    rest: httpx.AsyncClient, method: str, tail: str
) -> None:
    answer = await rest.request(method, API + tail, json={})
    if answer.status_code == 405:
        refused(answer, 405, method)
        allowed = answer.headers["allow"].split(", ")
        assert method not in allowed and allowed
        for other in allowed:
            assert (await rest.request(other, API + tail, json={})).status_code != 405
    else:
        assert answer.status_code < 500 or answer.status_code == 501
        assert method not in ("OPTIONS", "TRACE", "BREW")


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/2.0", "/api/2.1/serving-endpoints", API + "/x/", API + "/x/y", API + "//"]
)
async def test_unknown_paths_are_404(rest: httpx.AsyncClient, path: str) -> None:
    refused(await rest.get(path), 404)


async def test_calls_beyond_the_bound_are_refused_at_once_and_others_are_answered(
    rest: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_serving.management.app.MAX_CALLS", 2)
    entered, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slowly(*_: object) -> list[object]:
        entered.release()
        await go_on.wait()
        return []

    monkeypatch.setattr("tests.management.memory.MemoryEndpoints.all", slowly)
    calls = [asyncio.create_task(rest.get(API)) for _ in range(2)]
    for _ in calls:
        await asyncio.wait_for(entered.acquire(), 20)
    answer = await rest.get(AT)
    refused(answer, 503, "under way")
    assert int(answer.headers["retry-after"]) > 0
    go_on.set()
    for call in calls:
        good(await call)
    refused(await rest.get(AT), 404)


async def test_a_fault_of_ours_is_a_500_that_quotes_nothing_that_was_sent(
    rest: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: object, __: object, scope: str) -> None:
        raise KeyError(scope)

    monkeypatch.setattr("tests.management.memory.MemorySecrets.scope", broken)
    answer = await rest.post(API, json=create_body(openai_api_key="{{secrets/very-private/key}}"))
    assert answer.status_code == 500 and answer.json()["error_code"] == "INTERNAL_ERROR"
    assert "very-private" not in answer.text + caplog.text
    assert "KeyError" in caplog.text and "references.py" in caplog.text


# Bodies that nobody would write

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a body, itself included."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(found for key, each in inner for found in _places(each, (*path, key)))]


def _replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    first, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {key: _replaced(each, rest, by) if key == first else each for key, each in value.items()}
    return [_replaced(each, rest, by) if key == first else each for key, each in enumerate(value)]


BODIES: dict[tuple[str, str], Any] = {
    ("POST", API): create_body()
    | {
        "description": "", "budget_policy_id": "b", "route_optimized": False, "telemetry_config": {},
        "email_notifications": {"on_update_success": ["a@b.c"]},
        "ai_gateway": {"usage_tracking_config": {"enabled": True}, "rate_limits": [{"calls": 1}]},
    },
    ("PUT", AT + "/config"): UPDATE
    | {"traffic_config": {"routes": [{"served_entity_name": "openai_chat", "traffic_percentage": "100"}]}},
    ("PUT", AT + "/rate-limits"): {"rate_limits": [{"calls": 1, "key": "user", "principal": "a"}]},
    ("PUT", AT + "/ai-gateway"): {
        "guardrails": {"input": {"safety": False, "pii": {"behavior": "NONE"}, "valid_topics": []}},
        "inference_table_config": {"enabled": False, "catalog_name": "c"},
        "fallback_config": {"enabled": False},
    },
    ("PATCH", AT + "/tags"): {"add_tags": [{"key": "a", "value": "b"}], "delete_tags": ["c"]},
    ("PATCH", AT + "/notifications"): {"email_notifications": {"on_update_success": ["a"], "on_update_failure": []}},
    ("POST", AT + "/config:rollback"): {"config_version": 1},
    ("PUT", f"/api/2.0/permissions/serving-endpoints/{1:032x}"): {
        "access_control_list": [
            {"user_name": "a", "permission_level": "CAN_QUERY"}, {"group_name": "b", "permission_level": "CAN_VIEW"},
            {"service_principal_name": "system:serviceaccount:c:d", "permission_level": "CAN_MANAGE"},
        ]
    },
    ("POST", "/api/2.0/secrets/scopes/create"): {"scope": "a", "initial_manage_principal": "users"},
    ("POST", "/api/2.0/secrets/put"): {"scope": "my_scope", "key": "a", "string_value": "b"},
    ("POST", "/api/2.0/secrets/acls/put"): {"scope": "my_scope", "principal": "a", "permission": "READ"},
}  # fmt: skip
MUTATED = st.sampled_from(sorted(BODIES)).flatmap(
    lambda route: st.tuples(st.just(route), st.sampled_from(_places(BODIES[route])[1:]), VALUES).map(
        lambda drawn: (drawn[0], _replaced(BODIES[drawn[0]], drawn[1], drawn[2]))
    )
)


def in_workspace(send: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> None:
    """Sends something to a workspace with the article's endpoint, and judges the answer."""

    async def run() -> httpx.Response:
        async with connect(workspace()) as rest:
            good(await rest.post(API, json=CREATE))
            answer = await send(rest)
            good(await rest.get(API))
            return answer

    answer = asyncio.run(run())
    if answer.status_code != 200:
        assert answer.status_code < 500 or answer.status_code == 501, answer.text
        body = answer.json()
        assert body["error_code"] in CODES[answer.status_code], answer.text
        assert body["message"] and not any(phrase in body["message"] for phrase in RETRIED)


FUZZ = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(MUTATED)
def test_one_value_of_a_good_body_replaced_by_anything(case: tuple[tuple[str, str], Any]) -> None:
    (method, path), body = case
    in_workspace(lambda rest: rest.request(method, path, json=body))


@FUZZ
@given(st.sampled_from(WRITES), st.dictionaries(st.text(max_size=12), VALUES, max_size=4))
def test_any_object_to_any_write(route: tuple[str, str], body: dict[str, Any]) -> None:
    method, path = route
    in_workspace(lambda rest: rest.request(method, path.replace("{name}", NAME), json=body))


@FUZZ
@given(st.sampled_from(ROUTES), st.text(min_size=1, max_size=40), st.text(max_size=20))
def test_any_text_in_any_place_of_a_path(route: tuple[str, str], text: str, query: str) -> None:
    method, path = route
    for name in ("{name}", "{entity}", "{model}", "{version}", "{id}"):
        path = path.replace(name, "\0")
    quoted = "".join(f"%{byte:02x}" for byte in text.encode())
    asked = "".join(f"%{byte:02x}" for byte in query.encode())
    in_workspace(lambda rest: rest.request(method, path.replace("\0", quoted) + f"?scope={asked}", content=b"{}"))
