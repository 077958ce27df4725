"""The REST examples of the reference article, word for word: create, the documented answer, the update to chat."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.article import CREATE, UPDATE
from tests.clients import terraform
from tests.clients.workspace import ADMIN, ENDPOINTS, Workspace

pytestmark = pytest.mark.slow


def test_create_answers_as_documented(admin: httpx.Client) -> None:
    answer = admin.post(ENDPOINTS, json=CREATE)
    assert answer.status_code == 200, answer.text
    body = terraform.wait(admin, "openai_endpoint")
    assert answer.json()["id"] == body["id"]
    assert body["name"] == "openai_endpoint"
    assert body["creator"] == ADMIN
    assert 1_600_000_000_000 < body["creation_timestamp"] <= body["last_updated_timestamp"]
    assert body["state"]["ready"] == "READY"
    (entity,) = body["config"]["served_entities"]
    assert entity["name"] == "openai_embeddings"
    assert entity["external_model"] == CREATE["config"]["served_entities"][0]["external_model"]
    assert entity["state"] == {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""}
    assert entity["creator"] == ADMIN
    assert entity["creation_timestamp"] >= body["creation_timestamp"]
    (route,) = body["config"]["traffic_config"]["routes"]
    assert (route["served_model_name"], route["traffic_percentage"]) == ("openai_embeddings", 100)
    assert body["config"]["config_version"] == 1
    assert body["tags"] == CREATE["tags"]
    assert len(body["id"]) == 32
    assert (body["permission_level"], body["route_optimized"]) == ("CAN_MANAGE", False)


def test_the_update_goes_from_embeddings_to_chat(admin: httpx.Client) -> None:
    admin.post(ENDPOINTS, json=CREATE)
    made = terraform.wait(admin, "openai_endpoint")
    answer = admin.put(f"{ENDPOINTS}/openai_endpoint/config", json=UPDATE)
    assert answer.status_code == 200, answer.text
    body = terraform.wait(admin, "openai_endpoint")
    assert (body["id"], body["config"]["config_version"], body["task"]) == (made["id"], 2, "llm/v1/chat")
    (entity,) = body["config"]["served_entities"]
    assert entity["external_model"] == UPDATE["served_entities"][0]["external_model"]
    (route,) = body["config"]["traffic_config"]["routes"]
    assert (route["served_model_name"], route["traffic_percentage"]) == ("openai_chat", 100)


def test_the_old_configuration_serves_while_the_new_one_starts(workspace: Workspace, admin: httpx.Client) -> None:
    with workspace.updating("openai_endpoint"):
        question = {"messages": [{"role": "user", "content": "hello"}]}
        said = admin.post("/serving-endpoints/openai_endpoint/invocations", json=question)
        assert (said.status_code, said.headers["served-model-name"]) == (200, "first")
        body = admin.get(f"{ENDPOINTS}/openai_endpoint").json()
        assert body["state"] == {"ready": "READY", "config_update": "IN_PROGRESS"}
        assert body["pending_config"]["config_version"] == 2
        second = admin.put(f"{ENDPOINTS}/openai_endpoint/config", json=UPDATE)
        assert (second.status_code, second.json()["error_code"]) == (409, "RESOURCE_CONFLICT")
        limits = {"rate_limits": CREATE["rate_limits"]}
        assert admin.put(f"{ENDPOINTS}/openai_endpoint/rate-limits", json=limits).json() == limits


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("two external models in one endpoint", {"served_entities": UPDATE["served_entities"] * 2}, "served_entities"),
    ("no external model any more", {"served_entities": [{"entity_name": "a.b.c"}]}, "external_model"),
    ("no entity", {"served_entities": []}, "served_entities"),
]


@pytest.mark.parametrize("row", BROKEN, ids=lambda row: row[0])
def test_an_update_that_the_article_rules_out(workspace: Workspace, admin: httpx.Client, row: tuple[Any, ...]) -> None:
    _, config, named = row
    workspace.create("openai_endpoint", CREATE["config"])
    answer = admin.put(f"{ENDPOINTS}/openai_endpoint/config", json=config)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text
    assert named in answer.json()["message"]
