"""The Databricks CLI by its exchanges: what `databricks serving-endpoints …` sends, and what it must be answered."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from tests.clients import terraform
from tests.clients.workspace import ENDPOINTS, PERMISSIONS, SECRETS, Workspace

pytestmark = pytest.mark.slow

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def test_create_waits_get_list_query_update_delete(workspace: Workspace, admin: httpx.Client) -> None:
    terraform.discover(workspace.host)
    wanted = {"name": "by-hand", "config": {"served_entities": [workspace.entity("main")]}}
    terraform.create(admin, wanted)
    listed = admin.get(ENDPOINTS).json()["endpoints"]
    assert [each["name"] for each in listed] == ["by-hand"]
    said = admin.post("/serving-endpoints/by-hand/invocations", json=HELLO).json()
    assert isinstance(said["choices"][0]["message"]["content"], str)
    update = {"served_entities": [workspace.entity("second")]}
    terraform.change(admin, {**wanted, "config": update}, wanted)
    assert admin.patch(f"{ENDPOINTS}/by-hand/tags", json={"add_tags": [{"key": "a"}]}).json() == {
        "tags": [{"key": "a", "value": ""}]
    } or admin.get(f"{ENDPOINTS}/by-hand").json()["tags"] == [{"key": "a"}]
    assert isinstance(admin.get(f"{ENDPOINTS}/by-hand/served-models/second/logs").json()["logs"], str)
    assert isinstance(admin.get(f"{ENDPOINTS}/by-hand/served-models/second/build-logs").json()["logs"], str)
    metrics = admin.get(f"{ENDPOINTS}/by-hand/metrics", headers={"Accept": "text/plain"})
    assert metrics.headers["content-type"].startswith("text/plain")
    assert admin.get(f"{ENDPOINTS}/by-hand/openapi", headers={"Accept": "text/plain"}).json()["openapi"] >= "3.1"
    terraform.destroy(admin, "by-hand")


def test_permissions_by_id(workspace: Workspace, admin: httpx.Client) -> None:
    ident = workspace.create("shared", {"served_entities": [workspace.entity()]})["id"]
    levels = admin.get(f"{PERMISSIONS}/{ident}/permissionLevels").json()["permission_levels"]
    assert {each["permission_level"] for each in levels} == {"CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"}
    assert admin.get(f"{PERMISSIONS}/{ident}").json()["object_type"] == "serving-endpoint"
    assert admin.get(f"{PERMISSIONS}/{'0' * 32}").json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"


REFUSED: list[tuple[str, str, str, dict[str, Any], int, str, str]] = [
    ("create without a configuration", "POST", "", {"name": "x"}, 400, "INVALID_PARAMETER_VALUE", "config"),
    ("create without a name", "POST", "", {"config": {}}, 400, "INVALID_PARAMETER_VALUE", "name"),
    ("get of nobody", "GET", "/nobody", {}, 404, "RESOURCE_DOES_NOT_EXIST", "nobody"),
    ("delete of nobody", "DELETE", "/nobody", {}, 404, "RESOURCE_DOES_NOT_EXIST", "nobody"),
    ("update of nobody", "PUT", "/nobody/config", {"served_entities": []}, 404, "RESOURCE_DOES_NOT_EXIST", "nobody"),
    ("tags of nobody", "PATCH", "/nobody/tags", {"add_tags": []}, 404, "RESOURCE_DOES_NOT_EXIST", "nobody"),
    ("logs of nobody", "GET", "/nobody/served-models/m/logs", {}, 404, "RESOURCE_DOES_NOT_EXIST", "nobody"),
    ("provisioned throughput", "POST", "/pt", {"name": "x"}, 501, "NOT_IMPLEMENTED", "foundation"),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0])
def test_a_refusal_is_told_in_its_message_alone(admin: httpx.Client, row: tuple[Any, ...]) -> None:
    """The CLI prints `message`, and nothing else; an `error` beside it makes it print the raw body."""
    _, method, path, body, status, code, named = row
    answer = admin.request(method, f"{ENDPOINTS}{path}", json=body or None)
    told = answer.json()
    assert (answer.status_code, told["error_code"]) == (status, code)
    assert named in told["message"]
    assert "error" not in told


def test_a_query_of_nobody_is_told_in_its_message(admin: httpx.Client) -> None:
    answer = admin.post("/serving-endpoints/nobody/invocations", json=HELLO)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert "error" not in answer.json()


def test_a_second_update_while_one_runs_is_a_conflict(workspace: Workspace, admin: httpx.Client) -> None:
    with workspace.updating("busy"):
        body = {"served_entities": [workspace.entity("third")]}
        answer = admin.put(f"{ENDPOINTS}/busy/config", json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (409, "RESOURCE_CONFLICT")
        assert "busy" in answer.json()["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_empty_query_is_no_query(workspace: Workspace, method: str) -> None:
    """The Go client ends the target of GET and DELETE with a question mark."""
    host, _, port = workspace.host.removeprefix("http://").partition(":")
    head = f"{method} {ENDPOINTS}/nobody? HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {workspace.token()}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 404 ")
    assert "there is no serving endpoint nobody" in answer


def test_secrets_commands(admin: httpx.Client) -> None:
    create = {"scope": "hand", "initial_manage_principal": "", "scope_backend_type": "DATABRICKS"}
    assert admin.post(f"{SECRETS}/scopes/create", json=create).status_code == 200
    again = admin.post(f"{SECRETS}/scopes/create", json={"scope": "hand"})
    assert again.json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
    put = {"scope": "hand", "key": "k", "string_value": "v"}
    assert (admin.post(f"{SECRETS}/put", json=put).json()) == {}
    assert [each["key"] for each in admin.get(f"{SECRETS}/list?scope=hand").json()["secrets"]] == ["k"]
    assert admin.get(f"{SECRETS}/acls/list?scope=hand").status_code == 200
    assert admin.post(f"{SECRETS}/scopes/delete", json={"scope": "hand"}).json() == {}
    assert admin.get(f"{SECRETS}/list?scope=hand").json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
