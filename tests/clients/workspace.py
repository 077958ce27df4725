"""A live `model-serving run` with three users, and a provider that takes one key. Used by the tests of this folder."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
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
PROVIDER_KEY = "the-key-that-the-provider-takes"
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
        """What a client's process finds around it: host and tokens, and nothing that the machine has set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_AMBIENT)}
        return {
            **kept,
            "DATABRICKS_HOST": self.host,
            "DATABRICKS_TOKEN": self.token(),
            "HOME": str(self.run.folder),
            "OPENAI_BASE_URL": f"{self.host}/serving-endpoints",
            "OPENAI_API_KEY": self.token(),
            "PROVIDER": self.provider,
            "PROVIDER_KEY": PROVIDER_KEY,
            "USER_NAME": USER,
            "USER_TOKEN": self.token(USER),
            "VIEWER_TOKEN": self.token(VIEWER),
            "PYTHONDONTWRITEBYTECODE": "",
            **more,
        }

    def execute(self, environment: str, arguments: list[str], **more: str) -> str:
        """Runs Python in a client's environment; its output. An exit code other than 0 fails the test with it."""
        done = subprocess.run(
            [str(python_of(environment)), *arguments],
            env=self.environ(**more),
            cwd=self.run.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SCRIPT_SECONDS,
        )
        assert done.returncode == 0, f"in {environment}:\n{done.stdout}"
        return done.stdout

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
