"""Providers `openai` and `custom`: what they are sent, where, and with which credential."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from openai import APIStatusError, AzureOpenAI

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS, Call
from model_serving.proxy.credentials.scheme import Outgoing
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy.runtime import CompileError, compile_runtime
from model_serving.proxy_config import CredentialFile, Policy, ProxyConfig, Target

FILE = CredentialFile("s", "k")
OPENAI = PROVIDERS["openai"]


def openai(task: str = CHAT, **settings: str) -> Target:
    return Target("e", "openai", task, "real", settings=settings, credentials={"openai_api_key": FILE})


def custom(**settings: str) -> Target:
    credentials = {"value" if "key" in settings else "token": FILE}
    given = {"custom_provider_url": "https://h/v1/chat?x=1"} | settings
    return Target("e", "custom", CHAT, "real", settings=given, credentials=credentials)


def call(stream: bool = False, **fields: Any) -> Call:
    return Call(CHAT, {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}, stream)


def sent_body(target: Target, asked: Call) -> Any:
    (body,) = PROVIDERS[target.provider].dialect(target).request(asked)
    return msgspec.json.decode(body)


@pytest.mark.parametrize(
    ("task", "base", "url"),
    [
        (CHAT, None, "https://api.openai.com/v1/chat/completions"),
        (COMPLETIONS, None, "https://api.openai.com/v1/completions"),
        (EMBEDDINGS, None, "https://api.openai.com/v1/embeddings"),
        (CHAT, "http://h:1/v1/", "http://h:1/v1/chat/completions"),
    ],
)
def test_openai_is_called_at_its_base(task: str, base: str | None, url: str) -> None:
    assert OPENAI.url(openai(task, **({"openai_api_base": base} if base else {})), False) == url


def test_model_is_rewritten_and_the_rest_stays_as_it_was() -> None:
    body = sent_body(openai(), call(model="ep", messages=[1], temperature=9, unknown={"a": None}))
    assert body == {"model": "real", "messages": [1], "temperature": 9, "unknown": {"a": None}}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False, "x": 1}}, {"include_usage": True, "x": 1}),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
    ],
)
def test_a_stream_always_asks_openai_for_usage(given: dict[str, Any], sent: dict[str, Any]) -> None:
    body = sent_body(openai(), _stream(given))
    assert body["stream_options"] == sent


def azure(version: str, base: str = "https://r.openai.azure.com") -> Target:
    return openai(openai_api_type="azure", openai_api_base=base, openai_deployment_name="d", openai_api_version=version)


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        pytest.param("2023-05-15", False, id="of Databricks' examples"),
        pytest.param("2024-06-01", False, id="the last that refuses the field"),
        pytest.param("2024-08-01-preview", True, id="the first that takes it"),
        pytest.param("2024-10-21", True, id="a later one"),
        pytest.param("preview", True, id="no date"),
    ],
)
def test_azure_is_asked_for_usage_where_its_version_knows_the_field(version: str, asked: bool) -> None:
    target = azure(version)
    assert ("stream_options" in sent_body(target, _stream({}))) is asked
    own = sent_body(target, _stream({"stream_options": {"include_usage": True}}))
    assert own["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("end", ["", "/", "/openai", "/openai/"])
def test_azures_base_may_end_in_openai(end: str) -> None:
    url = "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert OPENAI.url(azure("2024-10-21", f"https://r.openai.azure.com{end}"), False) == url


@pytest.mark.parametrize("end", ["", "/", "/serving-endpoints", "/serving-endpoints/"])
def test_a_workspace_may_be_named_as_clients_of_openais_api_name_it(end: str) -> None:
    settings = {"databricks_workspace_url": f"https://w.example.com{end}"}
    target = Target("e", "databricks-model-serving", CHAT, "there", settings=settings)
    url = PROVIDERS["databricks-model-serving"].url(target, False)
    assert url == "https://w.example.com/serving-endpoints/there/invocations"


def _stream(given: dict[str, Any]) -> Call:
    return call(True, messages=[], **given)


def test_a_custom_provider_is_asked_nothing_that_the_client_did_not_ask() -> None:
    body = sent_body(custom(), _stream({}))
    assert body == {"messages": [], "model": "real"}


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (openai(), b"authorization: Bearer sk\r\n"),
        (custom(), b"authorization: Bearer sk\r\n"),
        (custom(key="x-api-key"), b"x-api-key: sk\r\n"),
    ],
)
def test_each_scheme_shows_its_credential(target: Target, line: bytes) -> None:
    assert PROVIDERS[target.provider].scheme(target).headers("sk", Outgoing("h", "/", b"{}", 0.0)) == line


def compile_one(target: Target) -> Any:
    return compile_runtime(ProxyConfig("ep", 1, "r", [target]), Policy("p")).targets[0]


def test_the_head_of_a_request_names_host_and_path() -> None:
    head = compile_one(openai(openai_organization="org-1")).whole.head
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\n")
    assert b"openai-organization: org-1\r\n" in head
    assert compile_one(custom()).whole.head.startswith(b"POST /v1/chat?x=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        pytest.param(openai(openai_api_type="azure"), "openai_deployment_name", id="Azure without a deployment"),
        pytest.param(
            openai(
                openai_api_type="azure",
                openai_api_base="https://h",
                openai_api_version="1",
                openai_deployment_name="..",
            ),
            "cannot be the name",
            id="a deployment that leaves its folder",
        ),
        pytest.param(
            Target(
                "e",
                "databricks-model-serving",
                CHAT,
                "..",
                settings={"databricks_workspace_url": "https://h"},
                credentials={"databricks_api_token": FILE},
            ),
            "cannot be the name",
            id="an endpoint that leaves its folder",
        ),
        pytest.param(openai(openai_api_base="https://u:p@h/v1"), "credentials", id="credentials in the URL"),
        pytest.param(openai(openai_api_base="https://h/a b"), "blanks", id="a blank in the URL"),
        pytest.param(openai(openai_organization="a\r\nx: y"), "control characters", id="a header in a setting"),
        pytest.param(openai("llm/v1/other"), "llm/v1/other", id="an unknown task"),
        pytest.param(
            Target("e", "custom", CHAT, "m", credentials={"token": FILE}), "custom_provider_url is missing", id="no URL"
        ),
        pytest.param(Target("e", "openai", CHAT, "m"), "openai_api_key", id="no credential"),
        pytest.param(Target("e", "palm", CHAT, "m"), "palm", id="an unknown provider"),
    ],
)
def test_settings_that_cannot_work_are_named(target: Target, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        compile_one(target)


def test_azure_is_called_as_the_openai_package_calls_it() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418)

    azure = {"openai_api_base": "https://house.openai.azure.com", "openai_api_version": "2024-10-21"}
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        package = AzureOpenAI(
            azure_endpoint=azure["openai_api_base"], api_key="sk-test", api_version="2024-10-21", http_client=http
        )
        with pytest.raises(APIStatusError):
            package.with_options(max_retries=0).chat.completions.create(model="gpt-4o", messages=[])
    target = openai(openai_api_type="azure", openai_deployment_name="gpt-4o", **azure)
    assert OPENAI.url(target, False) == str(seen[0].url)
    shown = OPENAI.scheme(target).headers("sk-test", Outgoing("h", "/", b"{}", 0.0))
    assert shown == b"api-key: %b\r\n" % seen[0].headers["api-key"].encode()


def test_all_targets_have_one_task() -> None:
    with pytest.raises(CompileError, match="one task"):
        compile_runtime(ProxyConfig("ep", 1, "r", [openai(), openai(EMBEDDINGS)]), Policy("p"))


def test_every_provider_is_registered_under_its_own_name() -> None:
    assert all(provider.name == name for name, provider in PROVIDERS.items())
