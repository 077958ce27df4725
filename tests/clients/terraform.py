"""What the Databricks CLI and the Terraform provider send, as they were seen to, and how the provider compares.

The binaries cannot be had by package name. Used by the tests of this folder.
"""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.clients.workspace import ADMIN, ENDPOINTS, PERMISSIONS

PATIENCE = 60.0
_SENT_ONLY = "_plaintext"
_KEPT = ("description", "budget_policy_id", "email_notifications", "ai_gateway", "route_optimized")


def discover(host: str) -> dict[str, Any]:
    """Twice, without credentials, as each process does."""
    for _ in range(2):
        found = httpx.get(f"{host}/.well-known/databricks-config", timeout=10)
        assert found.status_code == 200, found.text
    body: dict[str, Any] = found.json()
    assert body["workspace_id"].isdecimal()
    assert body["oidc_endpoint"].startswith("http")
    return body


def workspace_id(client: httpx.Client) -> int:
    """From the header of SCIM's Me; without a number here, an apply fails after the endpoint was made."""
    me = client.get("/api/2.0/preview/scim/v2/Me?excludedAttributes=entitlements")
    assert me.status_code == 200, me.text
    assert me.json()["userName"] == ADMIN
    return int(me.headers["X-Databricks-Org-Id"])


def read(client: httpx.Client, name: str) -> dict[str, Any] | None:
    """The endpoint; None for any 404. The target ends with an empty query, as the Go client sends it."""
    found = client.send(_with_empty_query(client, "GET", name))
    if found.status_code == 404:
        return None
    assert found.status_code == 200, found.text
    body: dict[str, Any] = found.json()
    return body


def wait(client: httpx.Client, name: str) -> dict[str, Any]:
    """Polls by `state.config_update` alone; a missing state, or no config when it is over, would be a crash."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        body = read(client, name)
        assert body is not None, f"{name} is gone"
        update = body["state"]["config_update"]
        assert update not in ("UPDATE_FAILED", "UPDATE_CANCELED"), body
        if update == "NOT_UPDATING":
            assert body["config"], body
            return body
        time.sleep(0.2)
    raise TimeoutError(f"{name} is still updating")


def create(client: httpx.Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """Creates, waits, and finds nothing to change."""
    made = client.post(ENDPOINTS, json=wanted)
    assert made.status_code == 200, made.text
    assert made.json()["name"] == wanted["name"]
    assert made.json()["state"]["config_update"] in ("IN_PROGRESS", "NOT_UPDATING")
    assert read(client, wanted["name"]) is not None, "what was just made is not found"
    return no_drift(wait(client, wanted["name"]), wanted)


def change(client: httpx.Client, wanted: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Carries out what differs between two configurations, in the provider's order."""
    name = wanted["name"]
    if wanted["config"] != old["config"]:
        put = client.put(f"{ENDPOINTS}/{name}/config", json=wanted["config"])
        assert put.status_code == 200, put.text
        assert put.json()["name"] == name
        wait(client, name)
    if wanted.get("tags") != old.get("tags"):
        present = {tag["key"] for tag in (read(client, name) or {}).get("tags", [])}
        keys = {tag["key"] for tag in wanted.get("tags", [])}
        body = {"add_tags": wanted.get("tags", []), "delete_tags": sorted(present - keys)}
        patched = client.patch(f"{ENDPOINTS}/{name}/tags", json=body)
        assert patched.status_code == 200, patched.text
        assert isinstance(patched.json()["tags"], list)
    if wanted.get("ai_gateway") != old.get("ai_gateway"):
        put = client.put(f"{ENDPOINTS}/{name}/ai-gateway", json=wanted["ai_gateway"])
        assert put.status_code == 200, put.text
    return no_drift(wait(client, name), wanted)


def destroy(client: httpx.Client, name: str) -> None:
    """Deletes; gone at once."""
    deleted = client.send(_with_empty_query(client, "DELETE", name))
    assert (deleted.status_code, deleted.json()) == (200, {})
    assert read(client, name) is None


def no_drift(body: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Compares what is there with what was configured, as a second plan would; the endpoint as it is."""
    assert body["name"] == wanted["name"]
    _same_config(body["config"], wanted["config"])
    for key in ("tags", *_KEPT):
        assert (body.get(key) or None) == (wanted.get(key) or None), key
    # An empty block would be drift as well, and limits of the older route are never shown.
    assert body.get("ai_gateway") != {}
    assert "rate_limits" not in body
    assert len(body["id"]) == 32
    return body


def _same_config(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    entities = {entity["name"]: entity for entity in found["served_entities"]}
    assert len(entities) == len(wanted["served_entities"])
    for entity in wanted["served_entities"]:
        model = entity["external_model"]
        name = entity.get("name") or model["name"].replace(".", "-").replace(":", "-")
        shown = entities[name]["external_model"]
        assert without_plaintext(shown) == shown, "a key in plain text is shown"
        assert shown == without_plaintext(model)
    routes = wanted.get("traffic_config", {}).get("routes")
    if routes is not None:
        percentages = {route["served_entity_name"]: route["traffic_percentage"] for route in found_routes(found)}
        assert percentages == {route["served_model_name"]: route["traffic_percentage"] for route in routes}
    for route in found_routes(found):
        assert route["served_entity_name"] == route["served_model_name"]
    assert sum(route["traffic_percentage"] for route in found_routes(found)) == 100


def found_routes(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes of a config that was read."""
    routes: list[dict[str, Any]] = config["traffic_config"]["routes"]
    return routes


def without_plaintext(value: Any) -> Any:
    """What is compared: keys in plain text are kept in the state and never read."""
    if not isinstance(value, dict):
        return value
    return {key: without_plaintext(inner) for key, inner in value.items() if not key.endswith(_SENT_ONLY)}


def set_permissions(client: httpx.Client, ident: str, *entries: dict[str, str]) -> dict[str, str]:
    """databricks_permissions: the listed entries with the calling user; the levels that are then there."""
    mine = {"user_name": ADMIN, "permission_level": "CAN_MANAGE"}
    put = client.put(f"{PERMISSIONS}/{ident}", json={"access_control_list": [*entries, mine]})
    assert put.status_code == 200, put.text
    found = client.get(f"{PERMISSIONS}/{ident}?")
    assert found.status_code == 200, found.text
    body = found.json()
    assert (body["object_id"], body["object_type"]) == (f"/serving-endpoints/{ident}", "serving-endpoint")
    return {
        entry.get("user_name") or entry.get("group_name") or entry["service_principal_name"]: given["permission_level"]
        for entry in body["access_control_list"]
        for given in entry["all_permissions"]
        if not given["inherited"]
    }


def _with_empty_query(client: httpx.Client, method: str, name: str) -> httpx.Request:
    request = client.build_request(method, f"{ENDPOINTS}/{name}")
    request.url = request.url.copy_with(query=b"")
    return request
