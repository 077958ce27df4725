"""README.md's commands for a cluster, carried out in their order on a control plane with simulated nodes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import pytest

from tests.cluster.harness import Cluster
from tests.cluster.operator_process import ROOT, running_operator
from tests.test_readme import README, blocks


@pytest.fixture(scope="module")
def fresh_cluster() -> Iterator[Cluster]:
    """A cluster that nobody has installed anything on."""
    if os.geteuid() != 0:
        pytest.skip("a real control plane needs root")
    with Cluster.start("control-plane", simulated_nodes=1) as cluster:
        yield cluster


def test_the_commands_for_a_cluster_end_with_ready_endpoints(fresh_cluster: Cluster) -> None:
    install, demo = commands_until("manifests/operator")
    for command in install:
        kubectl(fresh_cluster, command)
    # Simulated nodes run nothing: the operator that was installed works from this machine, with its own rights.
    with running_operator(fresh_cluster):
        for command in demo:
            kubectl(fresh_cluster, command)
        listed = fresh_cluster.kubectl("get", "sep", "-n", "model-serving-demo").stdout
        assert listed.count("Ready") >= 2, listed


def commands_until(last: str) -> tuple[list[str], list[str]]:
    """The kubectl lines up to the one that ends with `last`, and those after it."""
    lines = blocks(README, "sh")[1].splitlines()
    cut = next(i for i, line in enumerate(lines) if line.endswith(last)) + 1
    return lines[:cut], lines[cut:]


def kubectl(cluster: Cluster, command: str) -> None:
    """Carries out one line of the text, in the root of the repository."""
    program, *arguments = shlex.split(command)
    assert program == "kubectl"
    cluster.kubectl(*(str(ROOT / word) if (ROOT / word).exists() else word for word in arguments))
