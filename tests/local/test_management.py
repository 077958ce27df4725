"""A whole workspace in one process tree: endpoints and secrets are made, used, changed and kept through REST."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_serving.local.users import digest_of
from tests.local.running import (
    PATIENCE,
    Run,
    chat_endpoint,
    demo_provider,
    documents,
    eventually,
    free_port,
    running,
    secret,
    write,
)

pytestmark = pytest.mark.slow

ENDPOINTS = "/api/2.0/serving-endpoints"
SECRETS = "/api/2.0/secrets"


@pytest.fixture(scope="module")
def demo() -> Iterator[int]:
    with demo_provider("--key", "right-key") as port:
        yield port


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.yaml"
    path.write_text(
        f"{digest_of('root-token')}: {{user: root, admin: true}}\n"
        f"{digest_of('carla-token')}: {{user: carla, groups: [managers]}}\n"
        f"{digest_of('ute-token')}: {{user: ute, groups: [callers]}}\n"
        f"{digest_of('otto-token')}: {{user: otto}}\n"
    )
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, users: Path, demo: int) -> Iterator[Run]:
    """A run with one endpoint in a file, and four users."""
    folder = tmp_path_factory.mktemp("run")
    file = folder / "file.yaml"
    file.write_text(documents(secret("provider", api_key="right-key"), chat_endpoint("declared", demo)))
    options = ["-f", str(file), "--users", str(users), "--port", str(free_port())]
    with running(folder, *options) as made:
        made.serving()  # what is ready before that is told by the summary alone
        yield made


def client(run: Run, token: str = "") -> httpx.Client:
    """Somebody with DATABRICKS_HOST and DATABRICKS_TOKEN."""
    serving = run.serving()
    headers = {"authorization": f"Bearer {token or serving['token']}"}
    return httpx.Client(base_url=serving["host"], headers=headers, timeout=PATIENCE)


def body(
    name: str, port: int, *, entity: str = "e1", key: str = "{{secrets/my_scope/key}}", **more: Any
) -> dict[str, Any]:
    """A body that creates an endpoint."""
    openai = {"openai_api_base": f"http://127.0.0.1:{port}/v1", "openai_api_key": key}
    model = {"name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat", "openai_config": openai}
    return {"name": name, "config": {"served_entities": [{"name": entity, "external_model": model}]}, **more}


def with_plaintext(given: dict[str, Any], key: str) -> dict[str, Any]:
    """The body with the key itself instead of a reference."""
    config = given["config"]["served_entities"][0]["external_model"]["openai_config"]
    del config["openai_api_key"]
    config["openai_api_key_plaintext"] = key
    return given


def done(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The answer's body; the status is as said."""
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def put_key(user: httpx.Client, scope: str, value: str = "right-key") -> None:
    """A scope with the provider's key."""
    done(user.post(f"{SECRETS}/scopes/create", json={"scope": scope}))
    done(user.post(f"{SECRETS}/put", json={"scope": scope, "key": "key", "string_value": value}))


def call(user: httpx.Client, name: str) -> httpx.Response:
    """A call of the endpoint."""
    messages = [{"role": "user", "content": "hello"}]
    return user.post(f"/serving-endpoints/{name}/invocations", json={"messages": messages})


def served(user: httpx.Client, name: str) -> str:
    """Which entity answers."""
    answer = call(user, name)
    done(answer)
    return answer.headers["served-model-name"]


def settled(user: httpx.Client, name: str) -> dict[str, Any]:
    """The endpoint when no update is in progress any more."""

    def look() -> dict[str, Any] | None:
        found = done(user.get(f"{ENDPOINTS}/{name}"))
        return found if found["state"]["config_update"] != "IN_PROGRESS" else None

    found = eventually(look, f"{name} settled")
    assert found is not None
    return found


def test_the_life_of_an_endpoint_without_a_sleep_in_it(run: Run, demo: int) -> None:
    root = client(run, "root-token")
    put_key(root, "my_scope")
    made = done(root.post(ENDPOINTS, json=body("My_Endpoint", demo, tags=[{"key": "team", "value": "x"}])))
    assert made["config"]["served_entities"][0]["external_model"]["openai_config"]["openai_api_key"] == (
        "{{secrets/my_scope/key}}"
    )
    assert served(root, "My_Endpoint") == "e1"
    listed = done(root.get(ENDPOINTS))["endpoints"]
    assert [each["name"] for each in listed] == ["declared", "My_Endpoint"]

    config = body("My_Endpoint", demo, entity="e2")["config"]
    changed = done(root.put(f"{ENDPOINTS}/My_Endpoint/config", json=config))
    assert changed["state"]["config_update"] == "IN_PROGRESS"
    assert settled(root, "My_Endpoint")["config"]["config_version"] == 2
    assert served(root, "My_Endpoint") == "e2"
    assert 'proxy="' in root.get(f"{ENDPOINTS}/My_Endpoint/metrics").text

    done(root.delete(f"{ENDPOINTS}/My_Endpoint"))
    assert root.get(f"{ENDPOINTS}/My_Endpoint").status_code == 404
    assert call(root, "My_Endpoint").status_code == 404
    done(root.post(ENDPOINTS, json=body("My_Endpoint", demo)))
    assert served(root, "My_Endpoint") == "e1"
    done(root.delete(f"{ENDPOINTS}/My_Endpoint"))


def test_a_second_update_while_one_runs_is_a_conflict_and_limits_are_not(run: Run, demo: int) -> None:
    root = client(run, "root-token")
    put_key(root, "conflict")
    made = body("conflict", demo, key="{{secrets/conflict/key}}")
    done(root.post(ENDPOINTS, json=made))
    settled(root, "conflict")
    configs = [body("conflict", demo, entity=f"e{n}", key="{{secrets/conflict/key}}")["config"] for n in range(2, 8)]
    answers: list[int] = []

    def update(config: dict[str, Any]) -> None:
        answers.append(client(run, "root-token").put(f"{ENDPOINTS}/conflict/config", json=config).status_code)

    threads = [threading.Thread(target=update, args=(config,)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert set(answers) == {200, 409}
    limits = {"rate_limits": [{"calls": 0, "renewal_period": "minute"}]}
    done(root.put(f"{ENDPOINTS}/conflict/rate-limits", json=limits))
    settled(root, "conflict")
    eventually(lambda: call(root, "conflict").status_code == 429, "the limit")
    done(root.delete(f"{ENDPOINTS}/conflict"))


@pytest.mark.parametrize(
    ("token", "statuses"),
    [
        pytest.param("root-token", (200, 403, 200, 200), id="an admin manages everything and calls what it may call"),
        pytest.param("carla-token", (200, 200, 403, 200), id="a manager"),
        pytest.param("ute-token", (200, 200, 403, 403), id="a caller"),
        pytest.param("otto-token", (403, 403, 403, 403), id="somebody without a permission"),
        pytest.param("nobody", (401, 401, 401, 401), id="a stranger"),
    ],
)
def test_who_may_see_call_create_and_update(run: Run, demo: int, token: str, statuses: tuple[int, ...]) -> None:
    write(
        run.folder / "file.yaml",
        documents(
            secret("provider", api_key="right-key"),
            chat_endpoint("declared", demo),
            chat_endpoint("shared", demo, more=(
                "  access:\n"
                "  - {kind: Group, name: managers, permissionLevel: CAN_MANAGE}\n"
                "  - {kind: Group, name: callers, permissionLevel: CAN_QUERY}"
            )),
        ),
    )  # fmt: skip
    run.ready("shared", 1)
    user = client(run, token)
    tags = {"add_tags": [{"key": "by", "value": token}]}
    mine = with_plaintext(body(f"of-{token}", demo), "right-key")
    found = (
        user.get(f"{ENDPOINTS}/shared").status_code,
        call(user, "shared").status_code,
        user.post(ENDPOINTS, json=mine).status_code,
        user.patch(f"{ENDPOINTS}/shared/tags", json=tags).status_code,
    )
    assert found == statuses
    if found[2] == 200:
        assert call(user, f"of-{token}").status_code == 200
        done(user.delete(f"{ENDPOINTS}/of-{token}"))


def test_a_manager_cannot_use_a_scope_that_it_may_not_read(run: Run, demo: int) -> None:
    root, carla = client(run, "root-token"), client(run, "carla-token")
    put_key(root, "closed")
    done(root.post(ENDPOINTS, json=body("guarded", demo, key="{{secrets/closed/key}}")))
    made = settled(root, "guarded")
    acl = {"access_control_list": [{"group_name": "managers", "permission_level": "CAN_MANAGE"}]}
    done(root.patch(f"/api/2.0/permissions/serving-endpoints/{made['id']}", json=acl))
    config = body("guarded", demo, entity="e2", key="{{secrets/closed/key}}")["config"]
    assert carla.put(f"{ENDPOINTS}/guarded/config", json=config).status_code in (400, 403)
    given = {"scope": "closed", "principal": "managers", "permission": "READ"}
    done(root.post(f"{SECRETS}/acls/put", json=given))
    done(carla.put(f"{ENDPOINTS}/guarded/config", json=config))
    settled(carla, "guarded")
    done(carla.delete(f"{ENDPOINTS}/guarded"))


def test_a_value_that_changes_is_used_without_a_new_version(run: Run, demo: int) -> None:
    root = client(run, "root-token")
    put_key(root, "rotated", "wrong-key")
    done(root.post(ENDPOINTS, json=body("rotated", demo, key="{{secrets/rotated/key}}")))
    eventually(lambda: call(root, "rotated").status_code in (401, 403), "the wrong key")
    done(root.post(f"{SECRETS}/put", json={"scope": "rotated", "key": "key", "string_value": "right-key"}))
    eventually(lambda: call(root, "rotated").status_code == 200, "the right key")
    assert done(root.get(f"{ENDPOINTS}/rotated"))["config"]["config_version"] == 1
    done(root.delete(f"{ENDPOINTS}/rotated"))


def test_a_router_that_was_killed_knows_the_way_to_the_rest_api_again(run: Run) -> None:
    os.kill(run.child("router"), signal.SIGKILL)
    root = client(run, "root-token")
    eventually(lambda: root.get(ENDPOINTS).status_code == 200, "the REST API")


def test_what_rest_made_survives_restarts_beside_the_sample(tmp_path: Path) -> None:
    options = ["--port", str(free_port()), "--demo-port", str(free_port())]
    with running(tmp_path, *options) as run:
        root, demo = client(run), int(options[3])
        put_key(root, "my_scope")
        plain = with_plaintext(body("plain", demo), "canary-in-plaintext")
        first = done(root.post(ENDPOINTS, json=body("kept", demo)))
        done(root.post(ENDPOINTS, json=plain))
        assert {served(root, "kept"), served(root, "plain")} == {"e1"}
        for path in tmp_path.rglob("*"):
            if path.is_file() and "secrets" not in path.parts:
                assert b"canary-in-plaintext" not in path.read_bytes(), path
        run.kill()
    for _ in range(2):
        with running(tmp_path, *options) as run:
            names = {each["name"] for each in run.serving()["endpoints"]}
            assert names == {"chat", "completions", "embeddings", "kept", "plain"}
            root = client(run)
            assert done(root.get(f"{ENDPOINTS}/kept"))["id"] == first["id"]
            assert {served(root, "kept"), served(root, "plain")} == {"e1"}
            assert served(root, "chat") == "demo_chat"
            assert run.interrupt() == 0
