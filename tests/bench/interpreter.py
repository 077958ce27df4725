"""Which Python runs the proxy: the fastest build of it that this machine has, and what it is called in the reports.

An interpreter that was built without profile-guided optimisation is 1.2 to 1.5 times as slow as the one in the image or
in a distribution: a figure means nothing without its name."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import Unavailable, run_command

ROOT = Path(__file__).parents[2]
SETTING = "MODEL_SERVING_BENCH_PYTHON"
OWN = "own"
_SYSTEM = Path("/usr/bin/python3")
_LEAST = (3, 11)
_LOOK = """
import json, platform, sys, sysconfig
options = str(sysconfig.get_config_var("CONFIG_ARGS"))
# Distributions optimise by hand, which the recorded options do not show; theirs are the ones below /usr.
print(json.dumps([platform.python_version(), "--enable-optimizations" in options or sys.base_prefix == "/usr"]))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that has what the proxy needs. `name` says version and build."""

    program: Path
    version: str
    optimised: bool

    @property
    def name(self) -> str:
        """In words."""
        return f"Python {self.version}, {'optimised build' if self.optimised else 'built without optimisation'}"


def look_at(program: Path) -> Interpreter:
    """What a Python says of itself. Unavailable when it does not run."""
    try:
        said = subprocess.run([program, "-c", _LOOK], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{program} does not run: {error}") from None
    version, optimised = json.loads(said)
    return Interpreter(program, version, optimised)


def own() -> Interpreter:
    """The project's own: the one that runs this."""
    return look_at(Path(sys.executable))


def best(store: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> Interpreter:
    """The one to measure with: the project's own if its build is optimised, else the system's if that one is.

    SETTING names another, or says `own`, whatever its build. Unavailable when that one does not do."""
    wanted = environ.get(SETTING)
    if wanted == OWN:
        return own()
    if wanted:
        return _equipped(Path(wanted), store, say)
    mine = own()
    if mine.optimised or not _SYSTEM.exists():
        return mine
    system = look_at(_SYSTEM)
    if not system.optimised or tuple(map(int, system.version.split(".")[:2])) < _LEAST:
        return mine
    try:
        return _equipped(_SYSTEM, store, say)
    except Unavailable as reason:
        say(f"measuring with the project's own interpreter, because the system's has no environment: {reason}")
        return mine


def plain(store: Path, say: Callable[[str], None], *requirements: str, name: str = "") -> Path:
    """The bin folder of an environment with these packages, made once, with the system's Python where there is one."""
    base = _SYSTEM if _SYSTEM.exists() else Path(sys.executable)
    return _environment(base, requirements, store, say, name or requirements[0])


def _equipped(base: Path, store: Path, say: Callable[[str], None]) -> Interpreter:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    folder = _environment(base, [*project["dependencies"], *extras], store, say, "proxy")
    return look_at(folder / "python")


def _environment(
    base: Path, requirements: list[str] | tuple[str, ...], store: Path, say: Callable[[str], None], name: str
) -> Path:
    digest = hashlib.sha256("\n".join([str(base), *requirements]).encode()).hexdigest()[:12]
    folder = store / "python" / f"{name}-{digest}"
    if not (folder / "done").exists():
        say(f"installing {name} into an environment of its own (a minute or two, once)")
        folder.mkdir(parents=True, exist_ok=True)
        run_command(str(base), "-m", "venv", "--clear", str(folder))
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        with tempfile.TemporaryDirectory(prefix="model-serving-pip-") as empty:
            run_command("nice", "-n", "19", *pip, *requirements, cwd=Path(empty), seconds=600)
        (folder / "done").touch()
    return folder / "bin"


def with_sources(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which any interpreter finds the project and the benchmark."""
    return dict(environ) | {"PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT)])}
