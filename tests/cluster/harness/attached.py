"""Any other cluster, by its kubeconfig, in place of one started here.  Used by the fixtures."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Never

import pytest

from tests.cluster.harness import programs
from tests.cluster.harness.client import Json
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.image import Image


class AttachedCluster(Cluster):
    """A cluster of somebody else's, as its admin.  Other users are played by impersonation."""

    def __init__(self, kubeconfig: Path, users: Mapping[str, Sequence[str]]) -> None:
        binaries = programs.ensure_programs(
            [program for program in programs.CONTROL_PLANE if program.name == "kubectl"]
        )
        self.folder = Path(tempfile.mkdtemp(prefix="attached-cluster-"))
        self.binary = binaries / "kubectl"
        self._given = kubeconfig.resolve()
        self._users = users
        self._forwards: list[subprocess.Popen[str]] = []

    def stop(self) -> None:
        """Close what was opened towards it; the cluster stays."""
        for forward in self._forwards:
            forward.terminate()
            forward.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kubeconfig(self, user: str = "admin") -> Path:
        """A kubeconfig file for a user; ``admin`` is the given one."""
        if user == "admin":
            return self._given
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        document = self._view()
        for entry in document["users"]:
            entry["user"] |= {"as": user, "as-groups": [*self._users[user], "system:authenticated"]}
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        return path

    @property
    def api_url(self) -> str:
        """Where the API server is."""
        return str(self._view()["clusters"][0]["cluster"]["server"])

    def service_url(self, name: str, namespace: str, *, port: int | None = None, scheme: str = "http") -> str:
        """A base URL of a port that kubectl forwards to one pod behind the Service."""
        number = port or super().service_url(name, namespace).rpartition(":")[2]
        command: list[str | Path] = [
            self.binary,
            "--kubeconfig",
            self._given,
            "port-forward",
            "-n",
            namespace,
            f"service/{name}",
        ]
        child = subprocess.Popen([*command, f":{number}"], stdout=subprocess.PIPE, text=True)
        self._forwards.append(child)
        line = child.stdout.readline() if child.stdout else ""  # Forwarding from 127.0.0.1:PORT -> …
        if "127.0.0.1:" not in line:
            raise RuntimeError(f"kubectl port-forward to Service {namespace}/{name} did not start")
        return f"{scheme}://127.0.0.1:{line.split('127.0.0.1:')[1].split()[0]}"

    def token(self, user: str = "admin") -> Never:
        """Not to be had: skips the test."""
        _only_here("tokens")

    @property
    def ca_file(self) -> Never:
        """Not to be had: skips the test."""
        _only_here("the CA file")

    def audit(self, start: int = 0) -> Iterator[Json]:
        """Not to be had: skips the test."""
        _only_here("the audit log")

    def audit_position(self) -> Never:
        """Not to be had: skips the test."""
        _only_here("the audit log")

    def load_image(self, image: Image) -> Never:
        """Not to be had, skips the test: build the Dockerfile and load it with that cluster's own tool."""
        _only_here("loading images")

    def _view(self) -> Json:
        document: Json = json.loads(self.kubectl("config", "view", "--raw", "--minify", "-o", "json").stdout)
        return document


def attach(kubeconfig: Path, users: Mapping[str, Sequence[str]]) -> Cluster:
    """Use any other cluster, with users and their groups that tests want to play.

    Raises:
        RuntimeError: it does not answer.
    """
    cluster = AttachedCluster(kubeconfig, users)
    cluster.kubectl("version")
    return cluster


def _only_here(what: str) -> Never:
    pytest.skip(f"{what}: only on a cluster that the tests start, not on that of MODEL_SERVING_TEST_KUBECONFIG")
