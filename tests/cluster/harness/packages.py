"""Debian packages that the machine needs.  Used before a node starts or a base image is made."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.harness.progress import step

# package → a file that shows that it is there
PROOF = {
    "iproute2": "ip",
    "openssl": "openssl",
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    "ethtool": "ethtool",
    "debootstrap": "debootstrap",
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ensure_packages(names: Iterable[str]) -> None:
    """Install what is missing, by name, without starting any service of it.

    Raises:
        RuntimeError: apt could not install; its last lines are in the message.
    """
    missing = [name for name in names if not _is_there(PROOF[name])]
    if not missing:
        return
    with step(f"installing Debian packages {' '.join(missing)}"):
        first = _apt("install", "--yes", "--no-install-recommends", *missing)
        if first.returncode != 0:
            _apt("update")
            first = _apt("install", "--yes", "--no-install-recommends", *missing)
        if first.returncode != 0:
            raise RuntimeError(f"apt-get install {' '.join(missing)} failed:\n{(first.stdout + first.stderr)[-2000:]}")
        if "containerd" in missing:
            _stop_system_containerd()


def _is_there(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=SYSTEM_PATH) is not None


def _apt(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    return subprocess.run(["apt-get", *arguments], env=environment, text=True, capture_output=True, check=False)


def _stop_system_containerd() -> None:
    """The clusters run a containerd of their own; Debian's would only be in the way."""
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "disable", "--now", "containerd"], capture_output=True, check=False)
