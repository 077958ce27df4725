"""A live `model-serving run` with three users, and a provider that takes one key. Used by the tests of this folder."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.clients.environments import python_of
from tests.local.running import Run, demo_provider, eventually, free_port, running

ADMIN = "ada@example.com"
USER = "bob@example.com"
GROUP = "data-science"
VIEWER = "eve@example.com"
PROVIDER_KEY = "key-of-your-provider"
KEY_REFERENCE = "{{secrets/my_scope/my_openai_api_key}}"
ENDPOINTS = "/api/2.0/serving-endpoints"
PERMISSIONS = "/api/2.0/permissions/serving-endpoints"
SECRETS = "/api/2.0/secrets"
SCRIPT_SECONDS = 180

_TOKENS = {ADMIN: "adas-token-for-tests", USER: "bobs-token-for-tests", VIEWER: "eves-token-for-tests"}
_USERS = {
    ADMIN: {"admin": True},
    USER: {"groups": [GROUP]},
    VIEWER: {},
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace as clients see it. `host` is a DATABRICKS_HOST; `provider` an `openai_api_base`."""

    host: str
    provider: str
    run: Run

    def token(self, user: str = ADMIN) -> str:
        """The token of one of the three users."""
        return _TOKENS[user]

    def client(self, user: str = ADMIN) -> httpx.Client:
        """Plain HTTP with that user's token."""
        return httpx.Client(base_url=self.host, headers={"Authorization": f"Bearer {_TOKENS[user]}"}, timeout=60)

    def environ(self, **more: str) -> dict[str, str]:
        """What a client's process finds around it."""
        tokens = {"USER_NAME": USER, "USER_TOKEN": self.token(USER), "VIEWER_TOKEN": self.token(VIEWER)}
        own = {"CALLER": ADMIN, "HOME": str(self.run.folder), **tokens, **more}
        return {**surroundings(self.host, self.token(), self.provider), **own}

    def execute(self, environment: str, arguments: list[str], **more: str) -> str:
        """Runs Python in a client's environment; its output. An exit code other than 0 fails the test with it."""
        return execute(environment, arguments, self.environ(**more), self.run.folder)

    def entity(self, name: str = "model", task: str = "llm/v1/chat") -> dict[str, Any]:
        """A served entity at the provider, as REST spells it."""
        config = {"openai_api_key": KEY_REFERENCE, "openai_api_base": self.provider}
        model = {"name": "gpt-4", "provider": "openai", "task": task, "openai_config": config}
        return {"name": name, "external_model": model}

    def create(self, name: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Makes an endpoint and waits until it serves."""
        with self.client() as client:
            made = client.post(ENDPOINTS, json={"name": name, "config": config, **more})
            assert made.status_code == 200, made.text
            return eventually(lambda: _settled(client, name), f"{name} serves")

    def grant(self, name: str, user: str, level: str) -> None:
        """Gives a user a level on an endpoint."""
        with self.client() as client:
            ident = client.get(f"{ENDPOINTS}/{name}").json()["id"]
            entry = {"user_name": user, "permission_level": level}
            answer = client.patch(f"{PERMISSIONS}/{ident}", json={"access_control_list": [entry]})
            assert answer.status_code == 200, answer.text

    @contextmanager
    def updating(self, name: str) -> Iterator[None]:
        """An endpoint whose second version is on its way until the end."""
        self.create(name, {"served_entities": [self.entity("first")]})
        with self.client() as client, self.slow_starts():
            second = {"served_entities": [self.entity("second")]}
            answer = client.put(f"{ENDPOINTS}/{name}/config", json=second)
            assert answer.json()["state"]["config_update"] == "IN_PROGRESS", answer.text
            yield
        with self.client() as client:
            eventually(lambda: _settled(client, name), f"version 2 of {name} serves")

    def clear(self) -> None:
        """Leaves no endpoint, and the two scopes of the reference article with the provider's key."""
        with self.client() as client:
            for endpoint in client.get(ENDPOINTS).json()["endpoints"]:
                client.delete(f"{ENDPOINTS}/{endpoint['name']}")
            for scope in client.get(f"{SECRETS}/scopes/list").json().get("scopes", []):
                client.post(f"{SECRETS}/scopes/delete", json={"scope": scope["name"]})
            for name, key in (("my_scope", "my_openai_api_key"), ("scope", "key")):
                made = client.post(f"{SECRETS}/scopes/create", json={"scope": name})
                assert made.status_code == 200, made.text
                put = {"scope": name, "key": key, "string_value": PROVIDER_KEY}
                assert client.post(f"{SECRETS}/put", json=put).status_code == 200

    @contextmanager
    def slow_starts(self) -> Iterator[None]:
        """Proxies that start meanwhile stand still until the end, so that updates last as long as a test needs."""
        known, stopped, over = set(self.run.children()), set[int](), threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                for pid, line in self.run.children().items():
                    if pid not in known | stopped and line.split()[-1:] == ["proxy"]:
                        os.kill(pid, signal.SIGSTOP)
                        stopped.add(pid)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            for pid in stopped & set(self.run.children()):
                os.kill(pid, signal.SIGCONT)


def surroundings(host: str, token: str, provider: str) -> dict[str, str]:
    """The environment of a client: host and token, and nothing of a workspace that the machine has set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_AMBIENT)}
    return {
        **kept,
        "DATABRICKS_HOST": host,
        "DATABRICKS_TOKEN": token,
        "OPENAI_BASE_URL": f"{host}/serving-endpoints",
        "OPENAI_API_KEY": token,
        "PROVIDER": provider,
        "PROVIDER_KEY": PROVIDER_KEY,
        "PYTHONDONTWRITEBYTECODE": "",
    }


def execute(environment: str, arguments: list[str], environ: Mapping[str, str], folder: Path) -> str:
    """Runs Python in a client's environment; its output. An exit code other than 0 fails the test with it."""
    done = subprocess.run(
        [str(python_of(environment)), *arguments],
        env=dict(environ),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SCRIPT_SECONDS,
    )
    assert done.returncode == 0, f"in {environment}:\n{done.stdout}"
    return done.stdout


def _settled(client: httpx.Client, name: str) -> dict[str, Any] | None:
    """The endpoint, once no update is under way."""
    found: dict[str, Any] = client.get(f"{ENDPOINTS}/{name}").json()
    return found if found["state"]["config_update"] == "NOT_UPDATING" else None


_AMBIENT = ("DATABRICKS_", "MLFLOW_", "OPENAI_", "PYTHONPATH", "VIRTUAL_ENV", "http_proxy", "HTTP_PROXY", "ALL_PROXY")


@contextmanager
def workspace(folder: Path) -> Iterator[Workspace]:
    """Starts it all, and ends it."""
    users = folder / "users.yaml"
    users.write_text(yaml.safe_dump({_digest(_TOKENS[name]): {"user": name, **more} for name, more in _USERS.items()}))
    files = folder / "files"
    files.mkdir()
    (files / "secret.yaml").write_text(
        yaml.safe_dump(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "of-a-file"}, "stringData": {"key": "value"}}
        )
    )
    port = free_port()
    with (
        demo_provider("--key", PROVIDER_KEY, "--pace", "0.01") as provider,
        running(folder, "--port", str(port), "--users", str(users), "-f", str(files)) as run,
    ):
        run.serving()
        yield Workspace(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{provider}/v1", run)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
