"""The table of vendors' errors: what clients get for each status and type, and that vendors' own lists are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import anthropic.types.shared.error_type
import botocore.session  # type: ignore[import-untyped]
import cohere.errors
import pytest

from model_serving.proxy.errors import ProviderError
from model_serving.proxy.provider_errors import KINDS, STATUSES, TYPES, Meaning, status_of, with_kind
from model_serving.proxy.providers.base import error_of_type

CLIENTS_KNOW = {
    (400, "BAD_REQUEST"), (400, "INVALID_PARAMETER_VALUE"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"),
    (404, "RESOURCE_DOES_NOT_EXIST"), (409, "RESOURCE_CONFLICT"), (429, "REQUEST_LIMIT_EXCEEDED"),
    (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL_ERROR"), (501, "NOT_IMPLEMENTED"), (503, "TEMPORARILY_UNAVAILABLE"),
    (504, "DEADLINE_EXCEEDED"),
}  # fmt: skip
BEDROCK = botocore.session.get_session().get_service_model("bedrock-runtime")
GOOGLE_HTTP = {"INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}


def answer(provider: str, status: int, body: Any = None, retry_after: float | None = None) -> tuple[int, str, bool]:
    error = ProviderError(provider, status, body or {}, retry_after)
    return error.status, error.error_code, error.retry


@pytest.mark.parametrize("meaning", [*STATUSES.values(), *(row for rows in KINDS.values() for row in rows.values())])
def test_every_row_is_a_pair_that_clients_know(meaning: Meaning) -> None:
    assert (meaning.status, meaning.error_code) in CLIENTS_KNOW


@pytest.mark.parametrize(
    ("provider", "status", "body", "expected"),
    [
        pytest.param("anthropic", 402, {}, (403, "PERMISSION_DENIED", False), id="an unpaid bill"),
        pytest.param("openai", 404, {}, (404, "RESOURCE_DOES_NOT_EXIST", False), id="an unknown model"),
        pytest.param("amazon-bedrock", 408, {}, (504, "DEADLINE_EXCEEDED", True), id="the model took too long"),
        pytest.param("anthropic", 413, {}, (400, "INVALID_PARAMETER_VALUE", False), id="too large"),
        pytest.param("cohere", 422, {}, (400, "INVALID_PARAMETER_VALUE", False), id="unprocessable"),
        pytest.param("amazon-bedrock", 424, {}, (500, "INTERNAL_ERROR", True), id="the model failed"),
        pytest.param("cohere", 498, {}, (400, "BAD_REQUEST", False), id="a denied word"),
        pytest.param("cohere", 499, {}, (503, "TEMPORARILY_UNAVAILABLE", True), id="cancelled at the vendor"),
        pytest.param("anthropic", 529, {}, (503, "TEMPORARILY_UNAVAILABLE", True), id="overloaded"),
        pytest.param("custom", 418, {}, (400, "INVALID_PARAMETER_VALUE", False), id="another 4xx"),
        pytest.param("custom", 520, {}, (503, "TEMPORARILY_UNAVAILABLE", True), id="another 5xx"),
        pytest.param("custom", 308, {}, (503, "TEMPORARILY_UNAVAILABLE", False), id="a redirect"),
        pytest.param(
            "openai", 429, {"error": {"code": "insufficient_quota", "type": "insufficient_quota"}},
            (429, "RESOURCE_EXHAUSTED", False), id="a quota is no rate",
        ),
        pytest.param(
            "openai", 401, {"error": {"type": "invalid_request_error", "code": "invalid_api_key"}},
            (401, "UNAUTHENTICATED", False), id="the status decides, not a vague type",
        ),
        pytest.param(
            "anthropic", 429,
            {"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}},
            (429, "RESOURCE_EXHAUSTED", False), id="a spend limit is no rate",
        ),
        pytest.param(
            "amazon-bedrock", 429, {"__type": "com.amazon#ModelNotReadyException:http://x/"},
            (503, "TEMPORARILY_UNAVAILABLE", True), id="a model that is not ready yet",
        ),
        pytest.param(
            "amazon-bedrock", 400, {"__type": "ServiceQuotaExceededException"}, (429, "RESOURCE_EXHAUSTED", False),
            id="a quota that Bedrock calls 400",
        ),
        pytest.param(
            "custom", 429, {"error": {"code": "insufficient_quota"}}, (429, "REQUEST_LIMIT_EXCEEDED", True),
            id="another vendor's word",
        ),
        pytest.param("custom", 500, ["x"], (500, "INTERNAL_ERROR", True), id="a body of another shape"),
    ],
)  # fmt: skip
def test_a_status_and_a_type_mean(provider: str, status: int, body: Any, expected: tuple[int, str, bool]) -> None:
    assert answer(provider, status, body) == expected


@pytest.mark.parametrize(
    ("provider", "kind", "status", "code"),
    [
        pytest.param("anthropic", "overloaded_error", 503, "TEMPORARILY_UNAVAILABLE", id="overloaded"),
        pytest.param("anthropic", "rate_limit_error", 429, "REQUEST_LIMIT_EXCEEDED", id="a rate"),
        pytest.param("amazon-bedrock", "throttlingException", 429, "REQUEST_LIMIT_EXCEEDED", id="Bedrock's spelling"),
        pytest.param("amazon-bedrock", "modelStreamErrorException", 500, "INTERNAL_ERROR", id="the model broke"),
        pytest.param("google-cloud-vertex-ai", "RESOURCE_EXHAUSTED", 429, "REQUEST_LIMIT_EXCEEDED", id="Google's"),
        pytest.param("google-cloud-vertex-ai", "overloaded_error", 503, "TEMPORARILY_UNAVAILABLE", id="Claude there"),
        pytest.param("cohere", "TIMEOUT", 504, "DEADLINE_EXCEEDED", id="Cohere's"),
        pytest.param("anthropic", "a_new_error", 500, "INTERNAL_ERROR", id="unknown"),
    ],
)
def test_an_error_amid_a_stream_goes_by_its_type(provider: str, kind: str, status: int, code: str) -> None:
    error = error_of_type(provider, kind, {"message": "words"})
    assert (error.status, error.error_code) == (status, code)
    event = json.loads(error.event().removeprefix(b"data: "))
    assert (event["error_code"], event["error"]["message"]) == (code, "words")


def test_all_types_of_anthropics_package_are_in_the_table() -> None:
    missing = set(get_args(anthropic.types.shared.error_type.ErrorType)) - set(TYPES["anthropic"])
    assert missing == {"memory_precondition_failed_error", "memory_path_conflict_error"}, "those are another API's"


def test_all_exceptions_of_bedrock_are_in_the_table_with_their_status() -> None:
    used = {
        error.name
        for name in ("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream")
        for error in BEDROCK.operation_model(name).error_shapes
    }
    shapes = {name: BEDROCK.shape_for(name) for name in used}
    assert TYPES["amazon-bedrock"] == {
        name: shape.metadata["error"]["httpStatusCode"] for name, shape in shapes.items()
    }
    for event in ("ConverseStreamOutput", "ResponseStream"):
        for name, shape in BEDROCK.shape_for(event).members.items():
            if shape.metadata.get("exception"):
                assert status_of("amazon-bedrock", name) == shape.metadata["error"]["httpStatusCode"]


def test_all_statuses_of_coheres_package_have_a_row() -> None:
    sources = Path(cohere.errors.__file__).parent.glob("*_error.py")
    statuses = {int(found) for path in sources for found in re.findall(r"status_code=(\d+)", path.read_text())}
    assert statuses <= set(STATUSES)


@pytest.mark.parametrize(("kind", "status"), GOOGLE_HTTP.items())
def test_googles_names_have_their_status(kind: str, status: int) -> None:
    assert status_of("google-cloud-vertex-ai", kind) == status


def google(*details: Any) -> dict[str, Any]:
    return {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": list(details)}}


INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "53.1s"}


@pytest.mark.parametrize(
    ("body", "told", "passed"),
    [
        pytest.param(google(INFO), None, b"54", id="Google's RetryInfo"),
        pytest.param([google({"@type": "x"}, INFO)], None, b"54", id="in a list, as of a stream that never began"),
        pytest.param(google(INFO), 7.0, b"7", id="a header comes first"),
        pytest.param(google({"retryDelay": "soon"}), None, b"1", id="not a number"),
        pytest.param(google({"retryDelay": "9" * 30 + "s"}), None, b"86400", id="a day at most"),
        pytest.param({}, None, b"1", id="nothing is told: clients want a number"),
    ],
)
def test_when_to_come_back(body: Any, told: float | None, passed: bytes) -> None:
    assert (b"retry-after", passed) in ProviderError("google-cloud-vertex-ai", 429, body, told).headers()


@pytest.mark.parametrize(
    ("status", "body", "vain"),
    [
        pytest.param(429, {}, False, id="a rate"),
        pytest.param(429, {"error": {"code": "insufficient_quota"}}, True, id="a quota"),
        pytest.param(301, {}, True, id="a redirect"),
        pytest.param(501, {}, True, id="not implemented"),
        pytest.param(401, {}, False, id="no client repeats it anyway"),
    ],
)
def test_clients_are_told_what_is_in_vain(status: int, body: Any, vain: bool) -> None:
    assert ((b"x-should-retry", b"false") in ProviderError("openai", status, body).headers()) is vain


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_told_from_a_refused_caller(status: int) -> None:
    error = ProviderError("anthropic", status, {"error": {"type": "x", "message": "invalid x-api-key"}})
    told = json.loads(error.message)
    assert (error.status, told["external_model_provider"]) == (status, "anthropic")
    assert "credential of this endpoint" in told["external_model_hint"]
    assert not [name for name, _ in error.headers() if name == b"www-authenticate"]


def test_a_redirect_says_that_none_is_followed() -> None:
    told = json.loads(ProviderError("custom", 302, "").message)
    assert told["external_model_status"] == 302
    assert "redirect" in told["external_model_hint"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"message": "m"}, {"message": "m", "type": "server_error", "code": "INTERNAL_ERROR"}, id="Cohere"),
        pytest.param({"detail": "m"}, {"message": "m", "type": "server_error", "code": "INTERNAL_ERROR"}, id="AI21"),
        pytest.param(
            {"type": "error", "error": {"type": "api_error", "message": "m"}},
            {"message": "m", "type": "api_error", "code": "INTERNAL_ERROR"}, id="Anthropic",
        ),
        pytest.param(
            {"error": {"code": 500, "message": "m", "status": "INTERNAL"}},
            {"message": "m", "type": "server_error", "code": "INTERNAL_ERROR"}, id="Google: a code is text",
        ),
        pytest.param(
            {"error": {"code": None, "message": "m", "type": "server_error", "param": "p"}},
            {"message": "m", "type": "server_error", "code": None, "param": "p"}, id="OpenAI",
        ),
    ],
)  # fmt: skip
def test_clients_of_openai_get_the_vendors_words(body: Any, expected: dict[str, Any]) -> None:
    error = ProviderError("cohere", 500, body)
    assert error.openai_error() == {"param": None} | expected


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        pytest.param(b'{"message":"m"}', b"ThrottlingException:http://x/", "ThrottlingException", id="AWS' header"),
        pytest.param(b"", b"AccessDeniedException", "AccessDeniedException", id="no body"),
        pytest.param(b'{"__type":"a#B"}', b"C", "a#B", id="the body says it itself"),
    ],
)
def test_a_type_that_stands_in_a_header_is_kept(body: bytes, header: bytes, expected: str) -> None:
    assert json.loads(with_kind(body, header))["__type"] == expected


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff", b"[" * 5000])
def test_a_body_that_is_no_object_stays(body: bytes) -> None:
    assert with_kind(body, b"X") == body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"error": {"message": "no: sk-canary", "type": "sk-canary", "param": ["sk-canary"]}}, id="object"),
        pytest.param("no: sk-canary", id="text"),
        pytest.param(["sk-canary", {"sk-canary": 1}], id="list"),
    ],
)
def test_secrets_leave_every_part_of_an_error(body: Any) -> None:
    error = ProviderError("openai", 401, body)
    error.scrub(lambda text: text.replace(b"sk-canary", b"[redacted]"))
    for told in (error.body(openai=True), error.body(openai=False), error.event()):
        assert b"canary" not in told
        assert b"[redacted]" in told


def test_a_secret_that_is_syntax_makes_no_further_error() -> None:
    error = ProviderError("openai", 401, {"a": "b"})
    error.scrub(lambda text: text.replace(b'":"', b"[redacted]"))
    assert b"[redacted]" in error.body(openai=True)
