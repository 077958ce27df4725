"""Metrics, logs, documents, and routes for what is not here."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from model_serving.management.document import build_document
from model_serving.management.operations import OPERATIONS
from tests.article import UPDATE
from tests.management.memory import World
from tests.management.rest import API, CODES, NAME, good, refused


async def test_metrics_are_text_for_prometheus(rest: httpx.AsyncClient, endpoint: str) -> None:
    answer = await rest.get(endpoint + "/metrics", headers={"Accept": "text/plain"})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("model_serving_calls_total{")


async def test_logs_of_an_entity_are_those_of_its_proxies(rest: httpx.AsyncClient, endpoint: str) -> None:
    path = endpoint + "/served-models/openai_embeddings"
    assert "started" in good(await rest.get(path + "/logs"))["logs"]
    assert "nothing is built" in good(await rest.get(path + "/build-logs"))["logs"]


async def test_an_entity_of_a_former_version_has_logs_too(rest: httpx.AsyncClient, endpoint: str) -> None:
    good(await rest.put(endpoint + "/config", json=UPDATE))
    good(await rest.get(endpoint))
    good(await rest.get(endpoint + "/served-models/openai_embeddings/logs"))
    good(await rest.get(endpoint + "/served-models/openai_chat/logs"))


@pytest.mark.parametrize("tail", ["logs", "build-logs"])
async def test_an_unknown_entity_is_404_and_named(rest: httpx.AsyncClient, endpoint: str, tail: str) -> None:
    refused(await rest.get(f"{endpoint}/served-models/nobody/{tail}"), 404, NAME, "nobody", "openai_embeddings")


async def test_an_endpoint_has_an_openapi_document(rest: httpx.AsyncClient, endpoint: str) -> None:
    document = good(await rest.get(endpoint + "/openapi", headers={"Accept": "text/plain"}))
    assert document["openapi"].startswith("3.1") and document["info"]["title"] == NAME
    assert document["servers"][0]["url"] == f"http://workspace/serving-endpoints/{NAME}"
    assert list(document["paths"]) == ["/served-models/openai_embeddings/invocations"]


async def test_the_document_follows_the_scheme_that_the_client_used(rest: httpx.AsyncClient, endpoint: str) -> None:
    document = good(await rest.get(endpoint + "/openapi", headers={"X-Forwarded-Proto": "https", "Host": "ai.example"}))
    assert document["servers"][0]["url"] == f"https://ai.example/serving-endpoints/{NAME}"


ABSENT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "create with provisioned throughput": ("POST", "/pt", {"name": "x"}),
    "update provisioned throughput": ("PUT", "/pt/x/config", {"config": {}}),
    "optimisation of a model": ("GET", "/get-model-optimization-info/main.models.mine/1", {}),
}


@pytest.mark.parametrize("case", ABSENT)
async def test_what_is_not_here_says_what_to_do(rest: httpx.AsyncClient, case: str) -> None:
    method, tail, body = ABSENT[case]
    refused(await rest.request(method, API + tail, json=body), 501, "external_model", "custom")


@pytest.mark.parametrize("action", ["stop", "start"])
async def test_external_models_are_not_stopped(rest: httpx.AsyncClient, endpoint: str, action: str) -> None:
    refused(await rest.post(f"{endpoint}/config:{action}"), 400, NAME, "custom models")


# The document of this API


async def test_the_document_tells_of_every_row(rest: httpx.AsyncClient, shop: World) -> None:
    document = good(await rest.get("/api/2.0/openapi.json"))
    assert document == build_document(OPERATIONS)
    told = {(method.upper(), path) for path, entry in document["paths"].items() for method in entry}
    assert told == {(row.method, row.path) for row in OPERATIONS}
    ids = [entry["operationId"] for path in document["paths"].values() for entry in path.values()]
    assert len(ids) == len(set(ids))


def test_the_document_holds_what_it_refers_to() -> None:
    document = build_document(OPERATIONS)

    def referred(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for each in value for found in referred(each)]
        if not isinstance(value, dict):
            return []
        return [found for each in value.values() for found in referred(each)] + (
            [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        )

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(referred(document)) <= known
    codes = set(document["components"]["schemas"]["Error"]["properties"]["error_code"]["enum"])
    assert codes == {code for codes in CODES.values() for code in codes} | {"INTERNAL_ERROR"}


def test_rows_stand_once_and_end_without_a_slash() -> None:
    rows = [(row.method, row.path) for row in OPERATIONS]
    assert len(rows) == len(set(rows))
    assert [path for _, path in rows if path.endswith("/")] == [API + "/"] * 2
    assert all(row.summary for row in OPERATIONS)
