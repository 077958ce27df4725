"""A Kubernetes cluster for tests: started here, or any other one by its kubeconfig.  Used by tests and ``make cluster``."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from tests.cluster.harness import components, programs
from tests.cluster.harness.credentials import Access, new_tokens, token_file, write_private
from tests.cluster.harness.image import Image, pause_image
from tests.cluster.harness.machine import Machine
from tests.cluster.harness.packages import PROOF, ensure_packages
from tests.cluster.harness.progress import step
from tests.cluster.harness.simulation import simulated_node
from tests.cluster.harness.slot import Slot, clean_leftovers, take_slot
from tests.cluster.harness.waiting import wait_for

Shape = Literal["control-plane", "node"]
Json = dict[str, Any]
T = TypeVar("T")

START_SECONDS = 40
KUBECTL_SECONDS = 180


class Cluster:
    """One cluster.  Every method works on any cluster, but those that say that they need one started here."""

    def __init__(self, folder: Path, kubectl: Path, access: Access | None, machine: Machine | None) -> None:
        self.folder = folder
        self._kubectl = kubectl
        self._access = access
        self._machine = machine
        self._loaded: set[str] = set()
        self._forwards: list[subprocess.Popen[str]] = []
        self._outside: Path | None = None

    # --- start and stop

    @classmethod
    def start(
        cls,
        shape: Shape = "control-plane",
        *,
        users: Mapping[str, Sequence[str]] | None = None,
        simulated_nodes: int = 0,
        audit_policy: str = components.AUDIT_POLICY,
        detached: bool = False,
    ) -> Self:
        """Start a cluster and wait until it works.

        Args:
            shape: ``control-plane`` has no place for pods; ``node`` runs real ones.
            users: further users and their groups; they may do nothing until RBAC says so.
            simulated_nodes: nodes on paper of a control plane, on which every pod becomes Ready at once.
            audit_policy: what the API server writes down, see ``audit``.
            detached: the cluster outlives this process.

        Raises:
            RuntimeError: something could not be built, installed or started.
            TimeoutError: it did not work within three minutes.
        """
        if shape == "node" and simulated_nodes:
            raise ValueError("simulated nodes need the shape control-plane")
        needed = [*programs.CONTROL_PLANE]
        needed += programs.NODE if shape == "node" else programs.SIMULATION if simulated_nodes else ()
        binaries = programs.ensure_programs(needed)
        ensure_packages(PROOF if shape == "node" else ["iproute2"])
        clean_leftovers()
        slot, lock = take_slot()
        with step(f"starting cluster {slot.number} ({shape})"):
            tokens = new_tokens(users or {})
            access = _prepare(slot, tokens, token_file(tokens, users or {}), audit_policy)
            processes = components.control_plane(slot)
            if shape == "node":
                processes += components.node(slot)
            elif simulated_nodes:
                processes += components.simulation(slot)
            machine = Machine.start(slot, lock, processes, binaries=binaries, detached=detached)
            cluster = cls(slot.folder, binaries / "kubectl", access, machine)
            try:
                cluster._settle(shape, simulated_nodes)
            except BaseException:
                cluster._complain()
                cluster.stop()
                raise
        return cluster

    @classmethod
    def attach(cls, kubeconfig: Path) -> Self:
        """Any other cluster, as its admin.  Users are played by impersonation there."""
        binaries = programs.ensure_programs([p for p in programs.CONTROL_PLANE if p.name == "kubectl"])
        folder = programs.cache() / "attached" / str(os.getpid())
        folder.mkdir(parents=True, exist_ok=True)
        cluster = cls(folder, binaries / "kubectl", None, None)
        cluster._outside = kubeconfig.resolve()
        cluster.kubectl("version")
        return cluster

    @classmethod
    def find(cls, slot: Slot) -> Self | None:
        """A detached cluster that runs on this computer, or None."""
        machine = Machine.find(slot)
        access_file = slot.folder / "access.json"
        if machine is None or not access_file.exists():
            return None
        access = Access(_url(slot), slot.folder / "ca.crt", json.loads(access_file.read_text()))
        return cls(slot.folder, programs.folder() / "kubectl", access, machine)

    def stop(self) -> None:
        """End it without a trace.  An attached cluster stays, only what was opened towards it is closed."""
        for forward in self._forwards:
            forward.terminate()
            forward.communicate()
        self._forwards.clear()
        if self._machine:
            self._machine.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    # --- access

    @property
    def api_url(self) -> str:
        """Where the API server is."""
        return self._own().url if self._access else self._view()["clusters"][0]["cluster"]["server"]

    @property
    def ca_file(self) -> Path:
        """The certificate that the API server's is checked against; needs a cluster started here."""
        return self._own().ca_file

    def token(self, user: str = "admin") -> str:
        """A user's token; needs a cluster started here."""
        return self._own().tokens[user]

    def kubeconfig(self, user: str = "admin") -> Path:
        """A kubeconfig file for a user.

        Raises:
            KeyError: the cluster was started without that user.
        """
        path = self.folder / f"{user.replace(':', '-').replace('/', '-')}.kubeconfig"
        if self._access:
            return write_private(path, self._access.kubeconfig(user))
        assert self._outside is not None
        if user == "admin":
            return self._outside
        document = self._view()
        for entry in document["users"]:
            entry["user"] = {**entry["user"], "as": user}
        return write_private(path, json.dumps(document))

    # --- objects

    def kubectl(
        self, *arguments: str | Path, input: str | None = None, user: str = "admin", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as a user.

        Raises:
            RuntimeError: it failed and ``check`` is set; what it said is in the message.
        """
        done = subprocess.run(
            [self._kubectl, "--kubeconfig", self.kubeconfig(user), *arguments],
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
        target = ["-n", namespace] if namespace else []
        if isinstance(manifest, Path):
            kind = "-k" if (manifest / "kustomization.yaml").exists() else "-f"
            return self.kubectl("apply", *target, kind, manifest, *arguments, user=user).stdout
        return self.kubectl("apply", *target, "-f", "-", *arguments, input=manifest, user=user).stdout

    def get(self, kind: str, name: str, namespace: str | None = None, *, user: str = "admin") -> Json | None:
        """One object, or None when there is none of that name."""
        target = ["-n", namespace] if namespace else []
        found = self.kubectl("get", kind, name, *target, "-o", "json", "--ignore-not-found", user=user).stdout
        return json.loads(found) if found.strip() else None

    def list(self, kind: str, namespace: str | None = None, *, selector: str = "", user: str = "admin") -> Sequence[Json]:
        """All objects of a kind, in one namespace or in all."""
        scope = ["-n", namespace] if namespace else ["--all-namespaces"]
        chosen = ["-l", selector] if selector else []
        items: list[Json] = json.loads(self.kubectl("get", kind, *scope, *chosen, "-o", "json", user=user).stdout)["items"]
        return items

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace and wait until pods may be made in it."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
        account = ("get", "serviceaccount", "default", "-n", name)
        wait_for(lambda: self.kubectl(*account, check=False).returncode == 0, 30, f"namespace {name}", quiet=True)

    def wait_for(self, predicate: Callable[[], T | None], seconds: float, what: str) -> T:
        """Poll until the predicate returns something true and return that; see ``waiting.wait_for``."""
        return wait_for(predicate, seconds, what)

    def logs(self, pod: str, namespace: str, *arguments: str) -> str:
        """A pod's log; ``-p``, ``-c NAME`` and the like go into ``arguments``.  A name such as ``deployment/x`` works too."""
        return self.kubectl("logs", pod, "-n", namespace, *arguments).stdout

    def service_url(self, name: str, namespace: str, *, port: int | None = None, scheme: str = "http") -> str:
        """A base URL that reaches a Service from the tests: its own address here, a forwarded port on other clusters."""
        service = self.get("service", name, namespace)
        if service is None:
            raise KeyError(f"no Service {namespace}/{name}")
        number = port or service["spec"]["ports"][0]["port"]
        if self._machine is None:
            return f"{scheme}://127.0.0.1:{self._forward(name, namespace, number)}"
        return f"{scheme}://{service['spec']['clusterIP']}:{number}"

    # --- what only a cluster started here can do

    def audit(self, start: int = 0) -> Iterator[Json]:
        """The API server's audit events from a position on, see ``audit_position``; needs a cluster started here."""
        with (self._home() / "audit.log").open("rb") as log:
            log.seek(start)
            for line in log:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def audit_position(self) -> int:
        """Where the next audit event will be; needs a cluster started here."""
        log = self._home() / "audit.log"
        return log.stat().st_size if log.exists() else 0

    def load_image(self, image: Image | Path) -> str:
        """Put an image (or an archive of one) on the node and return its name; needs a cluster started here."""
        self._home()
        assert self._machine is not None
        command = ("ctr", "--namespace", "k8s.io", "images", "import", "-")
        if isinstance(image, Path):
            with image.open("rb") as archive:
                return self._machine.run(*command, stdin=archive).stdout.split()[1]
        archive_path = self.folder / "image.tar"
        with step(f"loading image {image.reference}"):
            image.write(archive_path, without=self._loaded)
            with archive_path.open("rb") as archive:
                self._machine.run(*command, stdin=archive)
            archive_path.unlink()
        self._loaded.update(layer.digest for layer in image.layers)
        return image.reference

    def log_file(self, component: str) -> Path:
        """The log of a component such as ``kube-apiserver`` or ``kubelet``; needs a cluster started here."""
        return self._home() / "logs" / f"{component}.log"

    # --- inside

    def _settle(self, shape: Shape, simulated_nodes: int) -> None:
        certificate = self.folder / "apiserver" / "apiserver.crt"
        wait_for(certificate.exists, START_SECONDS, "API server's certificate", quiet=True)
        wait_for(self._is_ready, START_SECONDS, "API server")
        if shape == "node":
            socket = components.CONTAINERD_SOCKET
            machine = self._machine
            assert machine is not None
            wait_for(
                lambda: machine.run("ctr", "--address", socket, "version", check=False).returncode == 0,
                START_SECONDS,
                "containerd",
            )
            self.load_image(pause_image(programs.folder()))
        nodes = [f"simulated-{number}" for number in range(simulated_nodes)]
        if nodes:
            self.apply("\n---\n".join(json.dumps(simulated_node(name)) for name in nodes))
        account = ("get", "serviceaccount", "default", "-n", "default")
        wait_for(lambda: self.kubectl(*account, check=False).returncode == 0, START_SECONDS, "controller manager")
        for name in [components.NODE_NAME] if shape == "node" else nodes:
            wait_for(lambda name=name: self._node_is_ready(name), START_SECONDS, f"node {name}", quiet=len(nodes) > 1)  # type: ignore[misc]

    def _is_ready(self) -> bool:
        source = self.folder / "apiserver" / "apiserver.crt"
        self.ca_file.write_bytes(source.read_bytes())
        return self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"

    def _node_is_ready(self, name: str) -> bool:
        node = self.get("node", name) or {}
        conditions = node.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _complain(self) -> None:
        """The last lines of every component, for whoever looks at a failed start."""
        for log in sorted((self.folder / "logs").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            print(f"--- {log.name}", *lines, sep="\n", flush=True)

    def _own(self) -> Access:
        if self._access is None:
            raise RuntimeError("this works only on a cluster that the tests started, not on an attached one")
        return self._access

    def _home(self) -> Path:
        self._own()
        return self.folder

    def _view(self) -> Json:
        document: Json = json.loads(self.kubectl("config", "view", "--raw", "--minify", "-o", "json").stdout)
        return document

    def _forward(self, service: str, namespace: str, port: int) -> str:
        command = [self._kubectl, "--kubeconfig", self.kubeconfig(), "port-forward", "-n", namespace, f"service/{service}"]
        child = subprocess.Popen([*command, f":{port}"], stdout=subprocess.PIPE, text=True)
        self._forwards.append(child)
        assert child.stdout is not None
        line = child.stdout.readline()  # Forwarding from 127.0.0.1:PORT -> …
        if "127.0.0.1:" not in line:
            raise RuntimeError(f"kubectl port-forward to {namespace}/{service} did not start")
        return line.split("127.0.0.1:")[1].split()[0]


def _prepare(slot: Slot, tokens: Mapping[str, str], token_lines: str, audit_policy: str) -> Access:
    folder = slot.folder
    access = Access(_url(slot), folder / "ca.crt", tokens)
    write_private(folder / "tokens.csv", token_lines)
    write_private(folder / "access.json", json.dumps(dict(tokens)))
    key = folder / "service-account.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    components.write_settings(folder, slot, access, audit_policy)
    return access


def _url(slot: Slot) -> str:
    return f"https://{slot.node}:{components.API_PORT}"
