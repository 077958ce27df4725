"""The programs of a cluster with their settings.  Used by the cluster when it starts a machine.

Paths are those inside the machine: the cluster's folder is ``/run/machine``, the binaries are in ``/run/bin``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.harness.credentials import Access
from tests.cluster.harness.machine import Process
from tests.cluster.harness.simulation import STAGES
from tests.cluster.harness.slot import Slot

HOME = "/run/machine"
API_PORT = 6443
NODE_NAME = "node"
ISSUER = "https://kubernetes.default.svc"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "model-serving.test/pause:1"

# Every request once, when it has ended.  Bodies are left out, so no Secret's value lands here.
AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""

CONTAINERD_CONFIG = f"""
version = 2
root = "{HOME}/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{HOME}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without this every pod fails with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{HOME}/cni"
"""


def write_settings(folder: Path, slot: Slot, access: Access, audit_policy: str) -> None:
    """Write the files that the programs read, as seen from inside the machine."""
    inside = Access(f"https://{slot.node}:{API_PORT}", Path(HOME, "apiserver", "apiserver.crt"), access.tokens)
    for user in access.tokens:
        (folder / f"{user.replace(':', '-')}.inside.kubeconfig").write_text(inside.kubeconfig(user))
    (folder / "audit-policy.yaml").write_text(audit_policy)
    (folder / "containerd.toml").write_text(CONTAINERD_CONFIG)
    (folder / "kubelet.json").write_text(json.dumps(_kubelet_settings(slot)))
    (folder / "cni").mkdir()
    (folder / "cni" / "10-bridge.conflist").write_text(json.dumps(_network_settings(slot)))
    (folder / "Corefile").write_text(_corefile(slot))
    (folder / "kwok.yaml").write_text(STAGES)
    (folder / "resolv.conf").write_text("")


def control_plane(slot: Slot) -> list[Process]:
    """etcd, API server and controller manager."""
    return [_etcd(), _api_server(slot), _controller_manager(slot)]


def simulation(slot: Slot) -> list[Process]:
    """Scheduler and KWOK: nodes and pods that exist on paper only."""
    return [_scheduler(slot), _kwok(slot)]


def node(slot: Slot) -> list[Process]:
    """Scheduler and all that runs real pods."""
    return [_scheduler(slot), _containerd(), _kubelet(slot), _kube_proxy(slot), _coredns(slot)]


def _command(program: str, flags: Mapping[str, str]) -> list[str]:
    return [f"/run/bin/{program}", *(f"--{name}={value}" for name, value in flags.items())]


def _kubeconfig(user: str) -> str:
    return f"{HOME}/{user.replace(':', '-')}.inside.kubeconfig"


def _api(slot: Slot) -> str:
    return f"tcp:{slot.node}:{API_PORT}"


def _etcd() -> Process:
    flags = {
        "data-dir": f"{HOME}/etcd",
        "unsafe-no-fsync": "true",
        "listen-client-urls": "http://127.0.0.1:2379",
        "advertise-client-urls": "http://127.0.0.1:2379",
        "listen-peer-urls": "http://127.0.0.1:2380",
        "log-level": "warn",
    }
    return Process("etcd", _command("etcd", flags))


def _api_server(slot: Slot) -> Process:
    flags = {
        "etcd-servers": "http://127.0.0.1:2379",
        "advertise-address": slot.node,
        "secure-port": str(API_PORT),
        "cert-dir": f"{HOME}/apiserver",
        "service-cluster-ip-range": slot.services,
        "service-account-issuer": ISSUER,
        "api-audiences": ISSUER,
        "service-account-signing-key-file": f"{HOME}/service-account.key",
        "service-account-key-file": f"{HOME}/service-account.key",
        "token-auth-file": f"{HOME}/tokens.csv",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "kubelet-preferred-address-types": "InternalIP",
        "audit-policy-file": f"{HOME}/audit-policy.yaml",
        "audit-log-path": f"{HOME}/audit.log",
        "audit-log-maxsize": "10000",
    }
    return Process("kube-apiserver", _command("kube-apiserver", flags), ["tcp:127.0.0.1:2379"])


def _controller_manager(slot: Slot) -> Process:
    flags = {
        "kubeconfig": _kubeconfig("system:kube-controller-manager"),
        "service-account-private-key-file": f"{HOME}/service-account.key",
        "root-ca-file": f"{HOME}/apiserver/apiserver.crt",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "cert-dir": f"{HOME}/controller-manager",
        # Scale tests on paper; the default of 20 would measure the throttle.
        "kube-api-qps": "200",
        "kube-api-burst": "400",
    }
    return Process("kube-controller-manager", _command("kube-controller-manager", flags), [_api(slot)])


def _scheduler(slot: Slot) -> Process:
    flags = {
        "kubeconfig": _kubeconfig("system:kube-scheduler"),
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "cert-dir": f"{HOME}/scheduler",
    }
    return Process("kube-scheduler", _command("kube-scheduler", flags), [_api(slot)])


def _kwok(slot: Slot) -> Process:
    flags = {
        "kubeconfig": _kubeconfig("kwok"),
        "config": f"{HOME}/kwok.yaml",
        "manage-all-nodes": "true",
        "cidr": slot.pods,
        "node-ip": slot.node,
        "node-lease-duration-seconds": "40",
    }
    return Process("kwok", _command("kwok", flags), [_api(slot)])


def _containerd() -> Process:
    return Process("containerd", ["containerd", "--config", f"{HOME}/containerd.toml"])


def _kubelet(slot: Slot) -> Process:
    flags = {
        "config": f"{HOME}/kubelet.json",
        "kubeconfig": _kubeconfig("system:node:node"),
        "root-dir": f"{HOME}/kubelet",
        "cert-dir": f"{HOME}/kubelet-pki",
        "hostname-override": NODE_NAME,
        "node-ip": slot.node,
    }
    return Process("kubelet", _command("kubelet", flags), [_api(slot), f"path:{CONTAINERD_SOCKET}"])


def _kubelet_settings(slot: Slot) -> dict[str, Any]:
    """Sync settings stay at their defaults: users' clusters have those."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{slot.cgroup}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "clusterDNS": [slot.node],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{HOME}/resolv.conf",
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": f"{HOME}/kubelet/volume-plugins",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _kube_proxy(slot: Slot) -> Process:
    flags = {
        "kubeconfig": _kubeconfig("system:kube-proxy"),
        "proxy-mode": "iptables",
        "cluster-cidr": slot.pods,
        "conntrack-max-per-core": "0",
        "hostname-override": NODE_NAME,
    }
    return Process("kube-proxy", _command("kube-proxy", flags), [_api(slot)])


def _network_settings(slot: Slot) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "dataDir": f"{HOME}/addresses", "ranges": [[{"subnet": slot.pods}]]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}


def _coredns(slot: Slot) -> Process:
    return Process("coredns", ["/run/bin/coredns", "-conf", f"{HOME}/Corefile"], [_api(slot)])


def _corefile(slot: Slot) -> str:
    """Names of the cluster; every other name does not exist, because there is no way to it."""
    return f"""cluster.local:53 in-addr.arpa:53 {{
    bind {slot.node}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {_kubeconfig("coredns")}
        ttl 5
    }}
}}
.:53 {{
    bind {slot.node}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
