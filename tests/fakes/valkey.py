"""A real Valkey or Redis server on a free port, started and ended by its own process id."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAMS = ("valkey-server", "redis-server")
PACKAGE = "redis-server"


def find_program() -> str:
    """The server's program; it is installed where the tests may do that. Skips the test otherwise."""
    if not _found() and shutil.which("apt-get") and os.geteuid() == 0:
        _install()
    found = _found()
    if not found:
        pytest.skip(f"neither {' nor '.join(PROGRAMS)} is installed")
    return found


def _install() -> None:
    """One test process at a time: the others find the program when it is their turn."""
    # RUNLEVEL: the package must not start a service of its own.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt = ["apt-get", "--option", "DPkg::Lock::Timeout=120"]
    command = [*apt, "install", "--yes", "--no-install-recommends", PACKAGE]
    with open(Path(tempfile.gettempdir()) / "model-serving-tests-packages.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _found() or not subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
            return
        subprocess.run([*apt, "update"], env=environment, capture_output=True, check=False)
        subprocess.run(command, env=environment, capture_output=True, check=False)


def _found() -> str:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), "")


class Server:
    """The server on 127.0.0.1; keeps nothing on disk, so that a restart forgets everything."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._program = find_program()
        self._folder = folder
        self._options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for a policy."""
        return f"valkey://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it and waits until it listens."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *self._options]
        self._process = subprocess.Popen(
            [self._program, *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the server did not start in time"
                time.sleep(0.02)

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
