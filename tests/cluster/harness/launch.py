"""The steps of a start: files before the machine, waiting after it.  Used by the cluster."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tests.cluster.harness import components, programs
from tests.cluster.harness.client import Client
from tests.cluster.harness.credentials import Access, new_tokens, token_file, write_private
from tests.cluster.harness.machine import Machine, Process
from tests.cluster.harness.packages import PROOF, ensure_packages
from tests.cluster.harness.simulation import simulated_node
from tests.cluster.harness.slot import Slot
from tests.cluster.harness.waiting import wait_for

Shape = Literal["control-plane", "node"]

START_SECONDS = 120
LAST_LINES = 15


def provide(shape: Shape, simulated_nodes: int) -> Path:
    """Build and install what the shape needs; the folder of binaries."""
    if os.geteuid() != 0:
        raise RuntimeError("a test cluster needs root, for its network and mount namespaces")
    needed = list(programs.CONTROL_PLANE)
    if shape == "node":
        needed += programs.NODE
    elif simulated_nodes:
        needed += programs.SIMULATION
    ensure_packages(PROOF if shape == "node" else ["iproute2", "openssl"])
    return programs.ensure_programs(needed)


def prepare(slot: Slot, users: Mapping[str, Sequence[str]], audit_policy: str) -> Access:
    """Write keys, tokens and settings into the slot's folder."""
    folder = slot.folder
    tokens = new_tokens(users)
    write_private(folder / "tokens.csv", token_file(tokens, users))
    write_private(folder / "access.json", json.dumps(tokens))
    key = folder / "service-account.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    access = access_to(slot)
    components.write_settings(folder, slot, access, audit_policy)
    return access


def access_to(slot: Slot) -> Access:
    """How to reach the cluster in a slot that has been prepared."""
    tokens = json.loads((slot.folder / "access.json").read_text())
    return Access(f"https://{slot.node}:{components.API_PORT}", slot.folder / "ca.crt", tokens)


def processes(slot: Slot, shape: Shape, simulated_nodes: int) -> list[Process]:
    """The programs that make up the shape."""
    further = components.node(slot) if shape == "node" else components.simulation(slot) if simulated_nodes else []
    return [*components.control_plane(slot), *further]


def await_control_plane(client: Client) -> None:
    """Wait until the API server answers and pods can be made."""
    certificate = client.folder / "apiserver" / "apiserver.crt"
    wait_for(certificate.exists, START_SECONDS, "API server's certificate", quiet=True)

    def is_ready() -> bool:
        (client.folder / "ca.crt").write_bytes(certificate.read_bytes())
        return client.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"

    wait_for(is_ready, START_SECONDS, "API server")
    wait_for(lambda: client.get("serviceaccount", "default", "default"), START_SECONDS, "controller manager")


def await_containerd(machine: Machine) -> None:
    """Wait until images can be loaded."""
    wait_for(lambda: machine.run("ctr", "version", check=False).returncode == 0, START_SECONDS, "containerd")


def add_simulated_nodes(client: Client, count: int) -> None:
    """Make nodes on paper and wait for them."""
    names = [f"simulated-{number}" for number in range(count)]
    client.apply("\n---\n".join(json.dumps(simulated_node(name)) for name in names))
    await_nodes(client, count)


def await_nodes(client: Client, count: int) -> None:
    """Wait until that many nodes are Ready."""

    def are_ready() -> bool:
        conditions = [each for node in client.list("nodes") for each in node["status"].get("conditions", [])]
        return len([each for each in conditions if each["type"] == "Ready" and each["status"] == "True"]) >= count

    wait_for(are_ready, START_SECONDS, f"{count} node{'s' if count > 1 else ''}")


def explain_failure(folder: Path) -> None:
    """Print the last lines of every component."""
    for log in sorted((folder / "logs").glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        print(f"--- {log.name}", *lines, sep="\n", flush=True)
