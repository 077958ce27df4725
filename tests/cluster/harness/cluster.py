"""A Kubernetes cluster for tests, started and thrown away here.  Used by tests and ``make cluster``."""

import errno
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.harness import components, launch, programs
from tests.cluster.harness.client import Client, Json
from tests.cluster.harness.credentials import Access, write_private
from tests.cluster.harness.image import Image, pause_image
from tests.cluster.harness.launch import Shape
from tests.cluster.harness.machine import Machine
from tests.cluster.harness.progress import step
from tests.cluster.harness.slot import Slot, clean_leftovers, take_slot
from tests.cluster.harness.waiting import wait_for


class Cluster(Client):
    """A cluster in a throw-away machine of its own; ``attached.attach`` gives the same for any other cluster."""

    def __init__(self, access: Access, machine: Machine, binaries: Path) -> None:
        super().__init__(machine.slot.folder, binaries / "kubectl")
        self._access = access
        self._machine = machine
        self._loaded: set[str] = set()

    @classmethod
    def start(
        cls,
        shape: Shape = "control-plane",
        *,
        users: Mapping[str, Sequence[str]] | None = None,
        simulated_nodes: int = 0,
        audit_policy: str = components.AUDIT_POLICY,
        detached: bool = False,
    ) -> "Cluster":
        """Start a cluster and wait until it works.

        Args:
            shape: ``control-plane`` has no place for pods; ``node`` runs real ones.
            users: further users and their groups; they may do nothing until RBAC says so.
            simulated_nodes: nodes on paper of a control plane, on which every pod becomes Ready at once.
            audit_policy: what the API server writes down, see ``audit``.
            detached: the cluster outlives this process.

        Raises:
            RuntimeError: something could not be built, installed or started.
            TimeoutError: it did not work within minutes.
        """
        if shape == "node" and simulated_nodes:
            raise ValueError("simulated nodes need the shape control-plane")
        binaries = launch.provide(shape, simulated_nodes)
        clean_leftovers()
        slot, lock = take_slot()
        with step(f"starting cluster {slot.number} ({shape})"):
            access = launch.prepare(slot, users or {}, audit_policy)
            processes = launch.processes(slot, shape, simulated_nodes)
            machine = Machine.start(slot, lock, processes, binaries=binaries, detached=detached)
            cluster = cls(access, machine, binaries)
            try:
                cluster._settle(shape, simulated_nodes)
            except BaseException:
                launch.explain_failure(slot.folder)
                cluster.stop()
                raise
        return cluster

    @classmethod
    def find(cls, slot: Slot) -> "Cluster | None":
        """The cluster that runs in a slot, started by whomever, or None."""
        machine = Machine.find(slot)
        if machine is None or not (slot.folder / "ca.crt").exists():
            return None
        return cls(launch.access_to(slot), machine, programs.folder())

    def stop(self) -> None:
        """End it without a trace."""
        self._machine.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def kubeconfig(self, user: str = "admin") -> Path:
        """A kubeconfig file for a user.

        Raises:
            KeyError: the cluster was started without that user.
        """
        return write_private(self.folder / f"{user.replace(':', '-')}.kubeconfig", self._access.kubeconfig(user))

    @property
    def api_url(self) -> str:
        """Where the API server is."""
        return self._access.url

    @property
    def ca_file(self) -> Path:
        """The certificate that the API server's is checked against."""
        return self._access.ca_file

    def token(self, user: str = "admin") -> str:
        """A user's token."""
        return self._access.tokens[user]

    def service_url(self, name: str, namespace: str, *, port: int | None = None, scheme: str = "http") -> str:
        """A base URL that reaches a Service from the tests; without a port, its first.

        Raises:
            KeyError: there is no such Service.
        """
        service = self.get("service", name, namespace)
        if service is None:
            raise KeyError(f"no Service {namespace}/{name}")
        address = service["spec"]["clusterIP"], port or service["spec"]["ports"][0]["port"]
        wait_for(lambda: _is_routed(address), 20, f"a way to Service {namespace}/{name}", quiet=True)
        return f"{scheme}://{address[0]}:{address[1]}"

    def audit(self, start: int = 0) -> Iterator[Json]:
        """The API server's audit events from a position on, see ``audit_position``."""
        with (self.folder / "audit.log").open("rb") as log:
            log.seek(start)
            for line in log:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def audit_position(self) -> int:
        """Where the next audit event will be."""
        return (self.folder / "audit.log").stat().st_size

    def load_image(self, image: Image) -> str:
        """Put an image on the node and return its name; layers that are there are not sent again."""
        archive = self.folder / "image.tar"
        with step(f"loading image {image.reference}"):
            image.write(archive, without=self._loaded)
            with archive.open("rb") as content:
                self._machine.run("ctr", "--namespace", "k8s.io", "images", "import", "-", stdin=content)
            archive.unlink()
        self._loaded.update(layer.digest for layer in image.layers)
        return image.reference

    def log_file(self, component: str) -> Path:
        """The log of a component such as ``kube-apiserver`` or ``kubelet``."""
        return self.folder / "logs" / f"{component}.log"

    @property
    def machine(self) -> Machine:
        """The machine that it runs in."""
        return self._machine

    @property
    def host_address(self) -> str:
        """The computer's address as seen from the API server (for webhooks); pods cannot reach it."""
        return self._machine.slot.host

    @property
    def is_detached(self) -> bool:
        """Whether it was left running for people rather than belongs to a test run."""
        return not json.loads((self.folder / "plan.json").read_text())["attached"]

    def _settle(self, shape: Shape, simulated_nodes: int) -> None:
        launch.await_control_plane(self)
        if shape == "node":
            launch.await_containerd(self._machine)
            self.load_image(pause_image(programs.folder()))
            launch.await_nodes(self, 1)
        elif simulated_nodes:
            launch.add_simulated_nodes(self, simulated_nodes)


def _is_routed(address: tuple[str, int]) -> bool:
    """Whether there is a way to an address: kube-proxy hears of a Service a moment after the API server has it. That
    somebody answers there is not meant."""
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        return error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    return True
