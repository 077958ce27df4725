"""Terraform by its exchanges: what was sent comes back equal after each step, so that a second plan is empty."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.clients import terraform
from tests.clients.workspace import ADMIN, ENDPOINTS, GROUP, PROVIDER_KEY, SECRETS, VIEWER, Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def wanted(workspace: Workspace) -> dict[str, Any]:
    """A configuration with everything that the resource can say of an external model."""
    routes = [{"served_model_name": "main", "traffic_percentage": 100}]
    return {
        "name": "terraformed",
        "config": {"served_entities": [workspace.entity("main")], "traffic_config": {"routes": routes}},
        "tags": [{"key": "team", "value": "gen-ai"}],
        "ai_gateway": {
            "usage_tracking_config": {"enabled": True},
            "rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}],
        },
        "description": "made by a plan",
        "email_notifications": {"on_update_failure": ["ada@example.com"]},
        "budget_policy_id": "policy-1",
    }


def test_apply_plan_change_import_replace_destroy(
    workspace: Workspace, admin: httpx.Client, wanted: dict[str, Any]
) -> None:
    discovered = terraform.discover(workspace.host)
    assert str(terraform.workspace_id(admin)) == discovered["workspace_id"]
    made = terraform.create(admin, wanted)
    assert terraform.no_drift(terraform.read(admin, "terraformed") or {}, wanted) == made

    second = copy.deepcopy(wanted)
    second["config"]["served_entities"][0]["external_model"]["name"] = "gpt-4o"
    second["tags"] = [{"key": "stage", "value": "try"}, {"key": "empty", "value": ""}]
    second["ai_gateway"]["rate_limits"][0]["calls"] = 50
    changed = terraform.change(admin, second, wanted)
    assert changed["config"]["config_version"] == 2
    assert changed["id"] == made["id"]

    policies = copy.deepcopy(second)
    policies["tags"] = [{"key": "stage", "value": "done"}]
    assert terraform.change(admin, policies, second)["config"]["config_version"] == 2

    imported = terraform.read(admin, "terraformed")
    assert imported is not None
    assert imported["config"]["served_entities"][0]["external_model"]["name"] == "gpt-4o"

    terraform.destroy(admin, "terraformed")
    replaced = terraform.create(admin, {**policies, "name": "replaced"})
    assert replaced["id"] != made["id"]
    terraform.destroy(admin, "replaced")


def test_the_least_that_can_be_said_makes_no_drift(workspace: Workspace, admin: httpx.Client) -> None:
    nameless = workspace.entity()
    del nameless["name"]
    nameless["external_model"]["name"] = "gpt-4.1:latest"
    least = {"name": "least", "config": {"served_entities": [nameless]}}
    made = terraform.create(admin, least)
    assert made["config"]["served_entities"][0]["name"] == "gpt-4-1-latest"
    assert not {"ai_gateway", "pending_config"} & set(made)
    # The deprecated block: sent with the endpoint, enforced, and never shown, or each plan would want to remove it.
    terraform.destroy(admin, "least")
    limits = [{"calls": 100, "key": "user", "renewal_period": "minute"}]
    shown = terraform.create(admin, {**least, "rate_limits": limits})
    assert "ai_gateway" not in shown


def test_keys_in_plain_text_stay_in_the_state_alone(workspace: Workspace, admin: httpx.Client) -> None:
    entity = workspace.entity("main")
    config = entity["external_model"]["openai_config"]
    del config["openai_api_key"]
    config["openai_api_key_plaintext"] = "wrong-key-of-a-plan"
    first = {"name": "plain", "config": {"served_entities": [entity]}}
    made = terraform.create(admin, first)
    assert "wrong-key-of-a-plan" not in str(made)
    question = {"messages": [{"role": "user", "content": "hello"}]}
    assert admin.post("/serving-endpoints/plain/invocations", json=question).status_code == 401
    second = copy.deepcopy(first)
    second["config"]["served_entities"][0]["external_model"]["openai_config"]["openai_api_key_plaintext"] = PROVIDER_KEY
    changed = terraform.change(admin, second, first)
    assert PROVIDER_KEY not in str(changed)
    assert admin.post("/serving-endpoints/plain/invocations", json=question).status_code == 200


def test_an_entity_renamed_without_routes(workspace: Workspace, admin: httpx.Client) -> None:
    """The provider sends the old route, a computed value of its state."""
    first = {"name": "renamed", "config": {"served_entities": [workspace.entity("main")]}}
    terraform.create(admin, first)
    stale = {"routes": [{"served_model_name": "main", "traffic_percentage": 100}]}
    body = {"served_entities": [workspace.entity("other")], "traffic_config": stale}
    answer = admin.put(f"{ENDPOINTS}/renamed/config", json=body)
    if answer.status_code == 200:
        second = {"name": "renamed", "config": {"served_entities": [workspace.entity("other")]}}
        shown = terraform.no_drift(terraform.wait(admin, "renamed"), second)
        assert shown["config"]["traffic_config"]["routes"][0]["served_entity_name"] == "other"
    else:
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "main" in answer.json()["message"]
        assert "other" in answer.json()["message"]


def test_five_at_once(workspace: Workspace) -> None:
    def apply(number: int) -> None:
        with workspace.client() as client:
            wanted = {"name": f"number-{number}", "config": {"served_entities": [workspace.entity("main")]}}
            terraform.create(client, wanted)
            terraform.destroy(client, wanted["name"])

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(apply, range(5)))


def test_scope_secret_endpoint_and_permissions_in_one_apply(workspace: Workspace, admin: httpx.Client) -> None:
    assert admin.post(f"{SECRETS}/scopes/create", json={"scope": "tf_Scope"}).status_code == 200
    assert "tf_Scope" in [scope["name"] for scope in admin.get(f"{SECRETS}/scopes/list?").json()["scopes"]]
    put = {"scope": "tf_Scope", "key": "api_key", "string_value": PROVIDER_KEY}
    assert admin.post(f"{SECRETS}/put", json=put).status_code == 200
    (listed,) = admin.get(f"{SECRETS}/list", params={"scope": "tf_Scope"}).json()["secrets"]
    assert listed["key"] == "api_key"
    entity = workspace.entity("main")
    entity["external_model"]["openai_config"]["openai_api_key"] = "{{secrets/tf_Scope/api_key}}"
    made = terraform.create(admin, {"name": "applied", "config": {"served_entities": [entity]}})

    group = {"group_name": GROUP, "permission_level": "CAN_QUERY"}
    user = {"user_name": VIEWER, "permission_level": "CAN_VIEW"}
    held = terraform.set_permissions(admin, made["id"], group, user)
    assert held == {GROUP: "CAN_QUERY", VIEWER: "CAN_VIEW", ADMIN: "CAN_MANAGE"}
    held = terraform.set_permissions(admin, made["id"])
    assert held == {ADMIN: "CAN_MANAGE"}

    terraform.destroy(admin, "applied")
    assert admin.post(f"{SECRETS}/delete", json={"scope": "tf_Scope", "key": "api_key"}).status_code == 200
    assert admin.post(f"{SECRETS}/scopes/delete", json={"scope": "tf_Scope"}).status_code == 200


def test_the_data_source_lists_all(workspace: Workspace, admin: httpx.Client) -> None:
    assert admin.get(ENDPOINTS).json() == {"endpoints": []}
    workspace.create("listed", {"served_entities": [workspace.entity()]})
    (found,) = admin.get(ENDPOINTS).json()["endpoints"]
    assert (found["name"], found["task"]) == ("listed", "llm/v1/chat")


def test_an_endpoint_deleted_behind_its_back_is_planned_anew(workspace: Workspace, admin: httpx.Client) -> None:
    wanted = {"name": "gone", "config": {"served_entities": [workspace.entity("main")]}}
    terraform.create(admin, wanted)
    admin.delete(f"{ENDPOINTS}/gone")
    assert terraform.read(admin, "gone") is None
    terraform.create(admin, wanted)
