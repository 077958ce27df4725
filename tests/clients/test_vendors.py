"""LangChain and MLflow on endpoints whose vendors are translated, made by REST. Each request is held against its
vendor's own types; the vendors answer as the golden cases say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients import terraform
from tests.clients.workspace import KEY_REFERENCE, Workspace
from tests.fakes.token_service import ACCOUNT, new_key, pem
from tests.local.test_vendors import BASES, KEY, Door, vendors
from tests.proxy.providers.golden import ROOT, vendor_of

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "scripts" / "vendors_langchain.py"
CASES = {
    "anthropic": ("text", "tool_call", "tool_result", "structured_output"),
    "cohere": ("text", "tool", "tool_result", "schema"),
    "amazon_bedrock": ("text", "tool", "tool_results", "structured"),
    "google_cloud_vertex_ai": ("text", "tool", "tool_result", "structured"),
}
"""What each vendor answers to a question, to one with a tool, to the tool's result, and where a schema is asked for."""
RESULT = ('"tool_result"', '"toolResult"', '"functionResponse"', '"role":"tool"', '"role": "tool"')
SCHEMA = ("json_schema", "json_object", "jsonSchema", "outputConfig", "JsonSchema")
TOOLS = ('"tools"', '"toolConfig"')


class Talk(Door):
    """The vendors, for whole conversations."""

    def case_of(self, folder: str, body: bytes) -> str:
        text, call, result, structured = CASES[folder]
        words = body.decode()
        if any(word in words for word in RESULT):
            return result
        if any(word in words for word in TOOLS):
            return call
        return structured if any(word in words for word in SCHEMA) else text


def message(folder: str, case: str) -> Any:
    """What a client is told in a golden case."""
    return json.loads((ROOT / folder / case / "answer.json").read_text())["choices"][0]["message"]


def expected(folder: str) -> dict[str, Any]:
    text, call, result, structured = CASES[folder]
    function = message(folder, call)["tool_calls"][0]["function"]
    return {
        "text": message(folder, text)["content"],
        "call": [function["name"], json.loads(function["arguments"])],
        "result": message(folder, result)["content"],
        "structured": json.loads(message(folder, structured)["content"]),
    }


def entity(folder: str, url: str) -> dict[str, Any]:
    """A served entity as REST spells it, with its keys in plain text."""
    told = json.loads((ROOT / folder / "target.json").read_text())
    google = {
        "type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": pem(new_key()),
        "client_email": ACCOUNT, "token_uri": f"{url}/token",
    }  # fmt: skip
    keys = {
        "anthropic": {"anthropic_api_key_plaintext": KEY},
        "cohere": {"cohere_api_key_plaintext": KEY},
        "amazon_bedrock": {"aws_access_key_id_plaintext": KEY, "aws_secret_access_key_plaintext": KEY},
        "google_cloud_vertex_ai": {"private_key_plaintext": json.dumps(google)},
    }[folder]
    base = {
        "anthropic": "anthropic_api_base",
        "cohere": "cohere_api_base",
        "amazon_bedrock": "aws_endpoint_url",
        "google_cloud_vertex_ai": "vertex_api_base",
    }[folder]
    assert told["provider"] in BASES
    config = told.get("settings", {}) | keys | {base: f"{url}/{folder}"}
    model = {"name": told["model"], "provider": told["provider"], "task": "llm/v1/chat", f"{folder}_config": config}
    return {"name": "main", "external_model": model}


def test_langchain_and_mlflow_cannot_tell_the_vendors_apart(workspace: Workspace) -> None:
    with vendors(Talk) as door:
        for folder in CASES:
            workspace.create(folder, {"served_entities": [entity(folder, door.url)]})
        workspace.execute(
            "langchain", [str(SCRIPT)], EXPECTED=json.dumps({folder: expected(folder) for folder in CASES})
        )
    for folder, stream, path, body, _ in door.requests:
        provider = json.loads((ROOT / folder / "target.json").read_text())["provider"]
        vendor_of(provider).accept_request("chat", stream, path, body)
    asked = [request[0] for request in door.requests]
    assert {folder: asked.count(folder) for folder in CASES} == dict.fromkeys(CASES, 9)


@pytest.mark.parametrize("keys", ["plaintext", "references"])
@pytest.mark.parametrize("folder", ["amazon_bedrock", "google_cloud_vertex_ai"])
def test_terraform_finds_no_drift(workspace: Workspace, admin: httpx.Client, folder: str, keys: str) -> None:
    with vendors(Talk) as door:
        wanted = {"name": folder, "config": {"served_entities": [entity(folder, door.url)]}}
        if keys == "references":
            refer(admin, wanted["config"]["served_entities"][0]["external_model"][f"{folder}_config"])
        made = terraform.create(admin, wanted)
        second = json.loads(json.dumps(wanted))
        second["config"]["served_entities"][0]["external_model"]["name"] += "-next"
        changed = terraform.change(admin, second, wanted)
    assert (changed["id"], changed["config"]["config_version"]) == (made["id"], 2)


def refer(admin: httpx.Client, config: dict[str, Any]) -> None:
    """Puts the keys of a block into a scope, and names them in their place."""
    for name in [name for name in config if name.endswith("_plaintext")]:
        field = name.removesuffix("_plaintext")
        put = {"scope": "my_scope", "key": field, "string_value": config.pop(name)}
        assert admin.post("/api/2.0/secrets/put", json=put).status_code == 200
        config[field] = KEY_REFERENCE.replace("my_openai_api_key", field)
