"""The pages of `docs/clients`: their lines are carried out, in order, in the environment of the client they tell of."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.clients import terraform
from tests.clients.workspace import ENDPOINTS, SECRETS, Workspace

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs" / "clients"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_JSON = re.compile(r"--json '(.*?)'")
PAGES = [
    ("mlflow", "mlflow-2.22"),
    ("mlflow", "mlflow-3"),
    ("databricks-sdk", "databricks-sdk"),
    ("openai", "openai"),
    ("langchain", "langchain"),
]


def blocks(page: str, language: str, workspace: Workspace) -> list[str]:
    """The fenced blocks of a page, with this workspace's provider in place of the one that `make run` starts."""
    text = (DOCS / f"{page}.md").read_text().replace("http://127.0.0.1:8090/v1", workspace.provider)
    return [block for found, block in _FENCE.findall(text) if found == language]


@pytest.mark.parametrize(("page", "environment"), PAGES)
def test_the_lines_of_a_page(workspace: Workspace, page: str, environment: str) -> None:
    if page in ("openai", "langchain"):
        for name in ("chat", "embeddings"):
            workspace.create(name, {"served_entities": [workspace.entity(name, f"llm/v1/{name}")]})
    for block in blocks(page, "sh", workspace):
        if block.startswith("curl"):
            subprocess.run(["bash", "-euc", block], env=workspace.environ(), check=True, timeout=60)
    printed = workspace.execute(environment, ["-c", "".join(blocks(page, "python", workspace))])
    assert "You said: hello" in printed


def test_the_commands_of_the_cli(workspace: Workspace, admin: httpx.Client) -> None:
    """What each command sends, in their order."""
    (block,) = blocks("cli", "sh", workspace)
    (query,) = (json.loads(body) for body in _JSON.findall(block))
    (entities,) = (json.loads(body) for body in blocks("cli", "json", workspace))
    create, update = {"name": "my_chat", "config": entities}, copy.deepcopy(entities)
    update["served_entities"][0]["name"] = "second"
    commands = re.findall(r"^databricks (\S+) (\S+)", block, re.MULTILINE)
    assert [command for _, command in commands] == [
        *["create-scope", "put-secret", "create", "query", "update-config", "get", "delete"]
    ]
    scope, key, value = re.findall(r"put-secret (\S+) (\S+) --string-value (\S+)", block)[0]
    assert admin.post(f"{SECRETS}/scopes/create", json={"scope": scope}).status_code == 200
    assert admin.post(f"{SECRETS}/put", json={"scope": scope, "key": key, "string_value": value}).status_code == 200
    terraform.create(admin, create)
    said = admin.post("/serving-endpoints/my_chat/invocations", json=query).json()
    assert said["choices"][0]["message"]["content"] == "You said: hello"
    terraform.change(admin, {"name": "my_chat", "config": update}, create)
    assert admin.get(f"{ENDPOINTS}/my_chat").json()["config"]["config_version"] == 2
    terraform.destroy(admin, "my_chat")
