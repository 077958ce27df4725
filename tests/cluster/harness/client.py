"""What tests do with any cluster, all of it through kubectl.  The base of ``Cluster``."""

import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.harness.waiting import wait_for

Json = dict[str, Any]
T = TypeVar("T")

KUBECTL_SECONDS = 180


class Client(ABC):
    """Talks to a cluster as any of its users.

    Args:
        folder: where kubeconfigs and kubectl's cache may be written.
        binary: kubectl.
    """

    def __init__(self, folder: Path, binary: Path) -> None:
        self.folder = folder
        self.binary = binary

    @abstractmethod
    def kubeconfig(self, user: str = "admin") -> Path:
        """A kubeconfig file for a user."""

    def kubectl(
        self, *arguments: str | Path, input: str | None = None, user: str = "admin", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as a user.

        Raises:
            RuntimeError: it failed and ``check`` is set; what it said is in the message.
        """
        done = subprocess.run(
            [self.binary, "--kubeconfig", self.kubeconfig(user), *arguments],
            input=input,
            env={**os.environ, "KUBECACHEDIR": str(self.folder / "kubectl-cache")},
            text=True,
            capture_output=True,
            timeout=KUBECTL_SECONDS,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, arguments))} failed:\n{done.stderr.strip()}")
        return done

    def apply(self, manifest: str | Path, *arguments: str, namespace: str | None = None, user: str = "admin") -> str:
        """``kubectl apply`` of YAML text, or of a file or folder; returns what kubectl said."""
        scope = ["-n", namespace] if namespace else []
        if isinstance(manifest, Path):
            kind = "-k" if (manifest / "kustomization.yaml").exists() else "-f"
            return self.kubectl("apply", *scope, kind, manifest, *arguments, user=user).stdout
        return self.kubectl("apply", *scope, "-f", "-", *arguments, input=manifest, user=user).stdout

    def get(self, kind: str, name: str, namespace: str | None = None, *, user: str = "admin") -> Json | None:
        """One object, or None when there is none of that name."""
        scope = ["-n", namespace] if namespace else []
        found = self.kubectl("get", kind, name, *scope, "-o", "json", "--ignore-not-found", user=user).stdout
        return json.loads(found) if found.strip() else None

    def list(
        self, kind: str, namespace: str | None = None, *, selector: str = "", user: str = "admin"
    ) -> Sequence[Json]:
        """All objects of a kind, in one namespace or in all."""
        scope = ["-n", namespace] if namespace else ["--all-namespaces"]
        chosen = ["-l", selector] if selector else []
        found = self.kubectl("get", kind, *scope, *chosen, "-o", "json", user=user).stdout
        items: Sequence[Json] = json.loads(found)["items"]
        return items

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace and wait until pods may be made in it."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
        self.kubectl("create", "-f", "-", input=json.dumps(namespace))
        wait_for(lambda: self.get("serviceaccount", "default", name), 30, f"namespace {name}", quiet=True)

    def logs(self, pod: str, namespace: str, *arguments: str) -> str:
        """The log of a pod, or of ``deployment/NAME``; ``-p``, ``-c NAME`` and the like go into ``arguments``."""
        return self.kubectl("logs", pod, "-n", namespace, *arguments).stdout

    def wait_for(self, predicate: Callable[[], T | None], seconds: float, what: str) -> T:
        """Poll until the predicate returns something true and return that; see ``waiting.wait_for``."""
        return wait_for(predicate, seconds, what)
