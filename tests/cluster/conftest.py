"""Clusters for the tests of this folder: started when the first test asks, once per run, ended whatever happens.

``MODEL_SERVING_TEST_KUBECONFIG`` names a kubeconfig of any other cluster (kind, for example); all tests then use that
one, and those that look inside a cluster (audit log, loading images) are skipped there.
``MODEL_SERVING_TEST_CLUSTER`` is the number of a cluster that ``python -m tests.cluster.harness up`` left running:
tests that are being written then start in seconds.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster
from tests.cluster.harness.attached import attach
from tests.cluster.harness.launch import Shape
from tests.cluster.harness.operator_image import operator_image
from tests.cluster.harness.slot import Slot
from tests.cluster.installed import Installed, install

KUBECONFIG = "MODEL_SERVING_TEST_KUBECONFIG"
LEFT_RUNNING = "MODEL_SERVING_TEST_CLUSTER"
# Users that tests may play: none has any right until a test grants it.
USERS = {"alice": ["ml-team"], "bob": ["ml-team"], "mallory": []}


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """API server, etcd, controller manager, scheduler and two simulated nodes."""
    with _running(request, "control-plane") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def node_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with one real node."""
    with _running(request, "node") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def installation(node_cluster: Cluster) -> Iterator[Installed]:
    """The node cluster with everything installed as an admin would; its operator's log is searched at the end."""
    found = install(node_cluster, node_cluster.load_image(operator_image()))
    yield found
    found.check()


@pytest.fixture(scope="module")
def installed(installation: Installed) -> Iterator[Installed]:
    """The same for one module, whose namespaces make room on the node for those of the next."""
    yield installation
    installation.clear()


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace, in the cluster that the test uses; deleted afterwards without waiting."""
    used = [name for name in ("control_plane", "node_cluster") if name in request.fixturenames]
    if len(used) != 1:
        raise pytest.UsageError("a test that asks for a namespace asks for exactly one of control_plane, node_cluster")
    cluster: Cluster = request.getfixturevalue(used[0])
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.create_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found", check=False)


@contextmanager
def _running(request: pytest.FixtureRequest, shape: Shape) -> Iterator[Cluster]:
    given = os.environ.get(KUBECONFIG)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else _nothing():
        print(flush=True)
        cluster = attach(Path(given), USERS) if given else _left_running() or _start(shape)
    try:
        yield cluster
    finally:
        if not os.environ.get(LEFT_RUNNING):
            cluster.stop()


def _left_running() -> Cluster | None:
    number = os.environ.get(LEFT_RUNNING)
    return Cluster.find(Slot(int(number))) if number else None


def _start(shape: Shape) -> Cluster:
    if os.geteuid() != 0:
        pytest.skip(f"a real cluster needs root, or {KUBECONFIG}")
    return Cluster.start(shape, users=USERS, simulated_nodes=2 if shape == "control-plane" else 0)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
