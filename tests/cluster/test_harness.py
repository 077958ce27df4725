"""The harness itself: clusters work, and leave nothing behind."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cluster.harness import Cluster
from tests.cluster.harness.base_image import base_image
from tests.cluster.harness.dockerfile import read_recipe
from tests.cluster.harness.image import Image
from tests.cluster.harness.launch import Shape
from tests.cluster.harness.paths import PROJECT
from tests.cluster.harness.slot import Slot, clean_leftovers
from tests.cluster.harness.waiting import wait_for

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: web
        image: IMAGE
        args: ["-u", "-m", "http.server", "8080"]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
LOOK_UP = "import socket; print(socket.gethostbyname('web'))"
CONNECT = "import socket; print(socket.socket().connect_ex(('{}', {})) != 0)"


def ready_replicas(cluster: Cluster, namespace: str) -> int:
    deployment = cluster.get("deployment", "web", namespace) or {}
    return int(deployment.get("status", {}).get("readyReplicas", 0))


def namespaces_of(pid: int | str) -> set[str]:
    """The network, mount and PID namespace of a process; none when it is gone or hidden."""
    try:
        return {str((Path("/proc") / str(pid) / "ns" / kind).readlink()) for kind in ("net", "mnt", "pid")}
    except OSError:
        return set()


def said(command: str) -> str:
    return subprocess.run(command, shell=True, text=True, capture_output=True, check=False).stdout


def traces(slot: Slot) -> dict[str, str]:
    """What a cluster could leave on the computer."""
    return {
        "link": said(f"ip -o link | grep {slot.link}@"),
        "routes": said(f"ip route | grep -E ' {slot.link} |{slot.pods}|{slot.services}'"),
        "mounts": said(f"grep {slot.folder} /proc/self/mountinfo"),
        "packet filter": said("iptables-save | grep -iE 'kube|cni|pods0'"),
        "control groups": said(f"find /sys/fs/cgroup -type d -name {slot.cgroup}"),
        "folder": str(slot.folder) if slot.folder.exists() else "",
        "system folders": said("ls -d /var/lib/kubelet /var/lib/cni /etc/cni /opt/containerd /var/log/pods"),
    }


def kernel_settings() -> str:
    return said("sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops net.ipv4.ip_forward")


class TestControlPlane:
    def test_users_have_the_rights_that_rbac_gives_them(self, control_plane: Cluster, namespace: str) -> None:
        refused = control_plane.kubectl("get", "pods", "-n", namespace, user="alice", check=False)
        assert "Forbidden" in refused.stderr
        control_plane.kubectl("create", "rolebinding", "view", "--clusterrole=view", "--group=ml-team", "-n", namespace)
        control_plane.wait_for(
            lambda: control_plane.kubectl("get", "pods", "-n", namespace, user="alice", check=False).returncode == 0,
            20,
            "the group's right",
        )

    def test_writes_are_counted_by_the_audit_log(self, control_plane: Cluster, namespace: str) -> None:
        start = control_plane.audit_position()
        control_plane.kubectl("create", "configmap", "one", "-n", namespace)
        control_plane.get("configmap", "one", namespace)
        mine = [
            event["verb"]
            for event in control_plane.audit(start)
            if event["user"]["username"] == "admin" and event.get("objectRef", {}).get("name") == "one"
        ]
        assert mine == ["create", "get"]

    def test_a_deployment_becomes_ready_on_simulated_nodes(self, control_plane: Cluster, namespace: str) -> None:
        control_plane.apply(WEB.replace("IMAGE", "model-serving.test/none:1"), namespace=namespace)
        control_plane.wait_for(lambda: ready_replicas(control_plane, namespace) == 2, 60, "simulated pods")

    def test_pod_security_refuses_what_is_not_restricted(self, control_plane: Cluster, namespace: str) -> None:
        control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        said = control_plane.kubectl("run", "root", "--image=none", "-n", namespace, check=False).stderr
        assert 'violates PodSecurity "restricted' in said


class TestNode:
    @pytest.fixture
    def web(self, node_cluster: Cluster, namespace: str) -> str:
        """Two restricted pods behind a Service; the namespace they are in."""
        node_cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        image = node_cluster.load_image(base_image())
        node_cluster.apply(WEB.replace("IMAGE", image), namespace=namespace)
        node_cluster.wait_for(lambda: ready_replicas(node_cluster, namespace) == 2, 120, "restricted pods")
        return namespace

    def test_restricted_pods_answer_behind_a_service(self, node_cluster: Cluster, web: str) -> None:
        url = node_cluster.service_url("web", web)
        answer = node_cluster.wait_for(lambda: urllib.request.urlopen(url, timeout=5).read(), 30, "the Service")
        assert b"Directory listing" in answer
        assert '"GET / HTTP/1.1" 200' in node_cluster.logs("deployment/web", web)

        def python(code: str) -> str:
            return node_cluster.kubectl("exec", "deployment/web", "-n", web, "--", "python3", "-c", code).stdout.strip()

        service = node_cluster.get("service", "web", web)
        assert service is not None
        assert python(LOOK_UP) == service["spec"]["clusterIP"], "DNS in pods"
        assert python(CONNECT.format("192.0.2.1", 80)) == "True", "no way out for pods"

    def test_a_layer_that_the_node_has_is_not_sent_again(self, node_cluster: Cluster, tmp_path: Path) -> None:
        image = base_image()
        node_cluster.load_image(image)
        again = Image("model-serving.test/again:1", image.layers, {**image.start, "Env": ["AGAIN=1"]})
        size = again.write(tmp_path / "again.tar", without={layer.digest for layer in image.layers}).stat().st_size
        assert size < 100_000
        assert node_cluster.load_image(again) == "model-serving.test/again:1"


@pytest.mark.parametrize("shape", ["control-plane", "node"])
def test_a_cluster_leaves_no_trace(shape: Shape) -> None:
    settings = kernel_settings()
    with Cluster.start(shape) as cluster:
        slot = cluster.machine.slot
        inside = namespaces_of(cluster.machine.init) - namespaces_of("self")
        assert len(inside) == 3
        during = traces(slot)
        assert during["link"] and during["routes"] and during["folder"], "the test would see what is left"
        assert kernel_settings() == settings
    assert traces(slot) == dict.fromkeys(during, "")
    left = [process.name for process in Path("/proc").glob("[0-9]*") if inside & namespaces_of(process.name)]
    assert left == []


def test_a_cluster_ends_with_its_test_run_even_when_that_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "slot"
    code = f"""
import os, pathlib, signal
from tests.cluster.harness import Cluster
cluster = Cluster.start()
pathlib.Path({str(note)!r}).write_text(str(cluster.machine.slot.number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False, capture_output=True, timeout=300)
    slot = Slot(int(note.read_text()))
    wait_for(lambda: not slot.is_taken(), 30, "the end of the machine")
    clean_leftovers()
    assert traces(slot) == dict.fromkeys(traces(slot), "")


def test_the_dockerfile_is_understood() -> None:
    recipe = read_recipe(PROJECT / "operator" / "Dockerfile")
    assert recipe.sources == ["pyproject.toml", "README.md", "LICENSE", "operator"]
    assert recipe.start["Entrypoint"] == ["model-serving"]
    assert recipe.start["User"] == "65532:65532"
    assert "PYTHONUNBUFFERED=1" in recipe.start["Env"]


def test_an_unknown_dockerfile_instruction_is_refused(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM a AS build\nCOPY x ./\nFROM a\nRUN apt-get install curl\n")
    with pytest.raises(ValueError, match="does not know: RUN apt-get install curl"):
        read_recipe(dockerfile)
