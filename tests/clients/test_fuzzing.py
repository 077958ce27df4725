"""A live workspace is asked whatever its own OpenAPI document allows, and much that it does not.

The same as `tests/management/test_fuzzing.py`, through router and sockets and with real proxies; hence fewer calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.clients.workspace import ENDPOINTS, KEY_REFERENCE, USER, Workspace
from tests.management.fuzzing import Known, fuzz, operations

pytestmark = pytest.mark.slow

NAME = "fuzzed"
FEW, FEW_WITH_BODY = 1, 4


def known(workspace: Workspace, admin: httpx.Client) -> Known:
    """An endpoint of that name, made anew when a call has deleted it."""
    found = admin.get(f"{ENDPOINTS}/{NAME}")
    if found.status_code == 404:
        workspace.create(NAME, {"served_entities": [workspace.entity()]})
        found = admin.get(f"{ENDPOINTS}/{NAME}")
    names = {
        "name": NAME, "id": found.json()["id"], "entity": "model", "principal": USER,
        "scope": "my_scope", "key": "my_openai_api_key",
    }  # fmt: skip
    return Known(names, KEY_REFERENCE, workspace.provider)


def test_answers_conform_to_the_document_and_refusals_help(workspace: Workspace, admin: httpx.Client) -> None:
    documented = operations(admin.get("/api/2.0/openapi.json").json())

    def send(request: Mapping[str, Any]) -> httpx.Response:
        path = request["url"].removeprefix("http://workspace")
        answer = admin.request(**{**request, "url": path})
        if request["method"] == "POST" and path.rstrip("/") == ENDPOINTS and answer.status_code == 200:
            admin.delete(f"{ENDPOINTS}/{answer.json()['name']}")  # each has a process of its own
        return answer

    for label, operation in documented.items():
        fuzz(operation, known(workspace, admin), send, FEW_WITH_BODY if label.startswith("P") else FEW)
    assert admin.get(ENDPOINTS).status_code == 200
