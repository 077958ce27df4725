"""The lowest layer of every image: a small Debian with Python.  Used by the operator's image and by tests."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.cluster.harness.image import Image, Layer, image_name, make_layer
from tests.cluster.harness.packages import SYSTEM_PATH, ensure_packages
from tests.cluster.harness.paths import cache, fingerprint
from tests.cluster.harness.progress import step

SUITE = "bookworm"
PACKAGES = ("python3", "ca-certificates")
# Needed by nobody who only runs programs.
DISPENSABLE = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/apt/lists", "var/log")
EMPTIED = ("var/cache", "dev", "proc", "sys", "tmp", "run")
PATH = "/usr/local/bin:/usr/bin:/bin"


def base_layer() -> Layer:
    """Debian with Python; takes about a minute when it is not in the cache.

    Raises:
        RuntimeError: debootstrap failed; its last lines are in the message.
    """
    return make_layer(f"base-{fingerprint([SUITE.encode(), *(name.encode() for name in PACKAGES), b'1'])}", _fill)


def base_image() -> Image:
    """Python on its own, for pods that have nothing to do with the project."""
    layers = (base_layer(),)
    start = {"Entrypoint": ["python3"], "User": "65532:65532", "WorkingDir": "/", "Env": [f"PATH={PATH}"]}
    return Image(image_name("python", layers, start), layers, start)


def _fill(tar: tarfile.TarFile) -> None:
    ensure_packages(["debootstrap"])
    root = cache() / f"base.{os.getpid()}"
    try:
        with step("making the base image (Debian with Python)"):
            _bootstrap(root)
            for name in DISPENSABLE:
                shutil.rmtree(root / name, ignore_errors=True)
            for name in EMPTIED:
                shutil.rmtree(root / name, ignore_errors=True)
                (root / name).mkdir(mode=0o1777 if name == "tmp" else 0o755)
            (root / "tmp").chmod(0o1777)
            for path in sorted(root.rglob("*")):
                tar.add(path, str(path.relative_to(root)), recursive=False)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _bootstrap(root: Path) -> None:
    # In a mount and PID namespace of its own, so that nothing it mounts or starts can stay behind.
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)]
    environment = {**os.environ, "PATH": SYSTEM_PATH}
    done = subprocess.run([*apart, *command], env=environment, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"debootstrap failed:\n{(done.stdout + done.stderr)[-2000:]}")
