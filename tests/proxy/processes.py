"""Proxy and router as real processes, started, told and ended as the local platform does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROGRAM = (
    "import os, sys; from model_serving.proxy.{module} import run_{name}; "
    "from model_serving.proxy.settings import {settings}; "
    "sys.exit(run_{name}({settings}.from_environ(os.environ)))"
)
PROXY = _PROGRAM.format(module="app", name="proxy", settings="ProxySettings")
ROUTER = _PROGRAM.format(module="router_app", name="router", settings="RouterSettings")


@dataclass
class Child:
    """A running process with its control pipe. Use as a context manager."""

    process: subprocess.Popen[bytes]
    pipe: int
    port: int
    admin: int
    log: Path

    def tell(self, message: Mapping[str, Any]) -> None:
        """Sends one control message."""
        os.write(self.pipe, json.dumps(message).encode() + b"\n")

    def hang_up(self) -> None:
        """Closes the control pipe, as the death of the parent does."""
        os.close(self.pipe)
        self.pipe = -1

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def admin_page(self, path: str) -> tuple[int, str]:
        """A page of the admin port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self, seconds: float = 20.0) -> None:
        """Waits for readiness."""
        deadline = time.monotonic() + seconds
        while (page := self.admin_page("/readyz"))[0] != 200:
            if time.monotonic() > deadline:
                raise AssertionError(f"not ready in time: {page}")
            time.sleep(0.05)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        if self.pipe >= 0:
            self.hang_up()
        assert self.process.stdout is not None
        self.process.stdout.close()


def start(program: str, log: Path, **environment: str) -> Child:
    """Starts PROXY or ROUTER on free ports and waits until it listens."""
    settings = {"DRAIN_DELAY_SECONDS": "0.3"} | environment
    return launch([sys.executable, "-c", program], os.environ, log, settings)


def launch(command: Sequence[str], environ: Mapping[str, str], log: Path, settings: Mapping[str, str]) -> Child:
    """Starts any such command with these settings on free ports and waits until it listens."""
    read, pipe = os.pipe()
    settings = {"HOST": "127.0.0.1", "PORT": "0", "ADMIN_PORT": "0", "CONTROL_FD": str(read), **settings}
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            env={**environ, **{f"MODEL_SERVING_{name}": value for name, value in settings.items()}},
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=(read,),
        )
    os.close(read)
    assert process.stdout is not None
    ports = json.loads(process.stdout.readline() or b"{}")
    return Child(process, pipe, ports.get("listening", 0), ports.get("admin", 0), log)
