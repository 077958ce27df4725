"""The operator as a process of this machine, with the rights of its ServiceAccount: for clusters without real pods."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.harness import Cluster

ROOT = Path(__file__).parents[2]
SYSTEM = "model-serving-system"
ACCOUNT = "model-serving-operator"


def install_crd(cluster: Cluster) -> None:
    """The CRD, until the API server serves it."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "crds")

    def served() -> bool:
        # Without any condition yet, `kubectl wait` gives up at once.
        cluster.kubectl("wait", "--for=condition=Established", "crd/servingendpoints.model-serving.dev")
        return cluster.kubectl("get", "sep", "-A", check=False).returncode == 0

    cluster.wait_for(served, 60, "the CRD to be served")


def install_rules(cluster: Cluster) -> None:
    """CRD, admission policies and the operator's rights, without the operator."""
    install_crd(cluster)
    cluster.apply(ROOT / "manifests" / "operator")
    cluster.kubectl("scale", "deployment", ACCOUNT, "-n", SYSTEM, "--replicas=0")


def account_kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig with a token of the operator's ServiceAccount."""
    token = cluster.kubectl("create", "token", ACCOUNT, "-n", SYSTEM, "--duration=24h").stdout.strip()
    return token_kubeconfig(cluster, folder / "operator.kubeconfig", token)


def token_kubeconfig(cluster: Cluster, path: Path, token: str) -> Path:
    """A kubeconfig with that token."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [
            {"name": "it", "cluster": {"server": cluster.api_url, "certificate-authority": str(cluster.ca_file)}}
        ],
        "users": [{"name": "it", "user": {"token": token}}],
    }
    path.touch(0o600)
    path.write_text(json.dumps(document))
    return path


class OperatorProcess:
    """One running operator."""

    def __init__(self, cluster: Cluster, folder: Path, identity: str = "one", **settings: str) -> None:
        self.log = folder / f"operator-{identity}.log"
        self.port = free_port()
        values = {
            "IMAGE": "model-serving.test/model-serving:test",
            "OPERATOR_NAMESPACE": SYSTEM,
            "IDENTITY": identity,
            "HEALTH_PORT": str(self.port),
            "LOG_LEVEL": "INFO",
            "PROGRESS_DEADLINE_SECONDS": "20",
            "SECRET_GRACE_SECONDS": "10",
            "LEASE_SECONDS": "5",
            **settings,
        }
        environment = {**os.environ, "KUBECONFIG": str(account_kubeconfig(cluster, folder))}
        environment |= {f"MODEL_SERVING_{name}": value for name, value in values.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "model_serving.cli", "operator"], env=environment, stdout=log, stderr=log
            )

    @property
    def ready(self) -> bool:
        """Whether it says that it is ready."""
        return self.ask("/readyz")[0] == 200

    def ask(self, path: str) -> tuple[int, str]:
        """Asks its health port."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the operator ended with {self.process.returncode}:\n{self.text()[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it and says how it ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)

    def text(self) -> str:
        """Everything that it logged."""
        return self.log.read_text(errors="replace")


@contextmanager
def running_operator(cluster: Cluster, identity: str = "one", **settings: str) -> Iterator[OperatorProcess]:
    """An operator that is ready; ended afterwards, and its log searched for what must not be in it."""
    with tempfile.TemporaryDirectory() as folder:
        operator = OperatorProcess(cluster, Path(folder), identity, **settings)
        try:
            cluster.wait_for(lambda: operator.ready, 60, f"operator {identity}")
            yield operator
        except BaseException:
            print(operator.text()[-6000:])
            raise
        finally:
            operator.stop()
        assert_clean(operator.text())


def assert_clean(log: str) -> None:
    """No traceback and no unexpected error."""
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]
    errors = [line for line in log.splitlines() if " ERROR " in line or '"level":"ERROR"' in line]
    assert not errors, "\n".join(errors[:20])


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
