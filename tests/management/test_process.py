"""The command `model-serving management`: its settings, its start without a cluster, its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from model_serving.management.process import ManagementSettings, SettingsError

SECONDS = 60


def test_it_listens_on_loopback_unless_told() -> None:
    assert ManagementSettings.from_environ({}) == ManagementSettings("127.0.0.1", 8090, "", "INFO")
    given = {"HOST": "::1", "PORT": "9000", "NAMESPACE": "gen-ai", "LOG_LEVEL": "debug"}
    environ = {f"MODEL_SERVING_{name}": value for name, value in given.items()}
    assert ManagementSettings.from_environ(environ) == ManagementSettings("::1", 9000, "gen-ai", "DEBUG")


BAD = [("PORT", "http"), ("PORT", "65536"), ("PORT", ""), ("PORT", "²"), ("LOG_LEVEL", "loud")]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_setting_that_cannot_be_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"MODEL_SERVING_{name}: set it to"):
        ManagementSettings.from_environ({f"MODEL_SERVING_{name}": value})


def started(folder: Path, user: dict[str, str], **settings: str) -> tuple[subprocess.Popen[bytes], Path]:
    """The command, before a cluster that nobody is at."""
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "it", "user": user}],
    }
    (folder / "config").write_text(yaml.safe_dump(document))
    environ = {**os.environ, "KUBECONFIG": str(folder / "config")}
    environ |= {f"MODEL_SERVING_{name}": value for name, value in settings.items()}
    log = folder / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "model_serving.cli", "management"]
        return subprocess.Popen(command, env=environ, stdout=output, stderr=output), log


def test_it_waits_for_a_cluster_that_is_away_and_ends_when_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process, log = started(tmp_path, {"token": "secret-canary"}, PORT=str(port))
    try:
        end = time.monotonic() + SECONDS
        while not re.search(r"again in [0-9.]+ s", log.read_text()):
            assert time.monotonic() < end and process.poll() is None, log.read_text()
            time.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text() and "secret-canary" not in log.read_text()


def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process, log = started(tmp_path, {"token": "x"}, PORT=str(taken.getsockname()[1]))
        assert process.wait(SECONDS) == 1
    assert "cannot listen at 127.0.0.1" in log.read_text() and "Traceback" not in log.read_text()


def test_a_kubeconfig_that_would_speak_for_everybody_ends_the_start(tmp_path: Path) -> None:
    certificate = {"client-certificate-data": "cGVt", "client-key-data": "cGVt"}
    process, log = started(tmp_path, certificate, PORT="0")
    assert process.wait(SECONDS) == 2
    assert "would take for every caller" in log.read_text()
