"""The real clients, each set in an environment of its own: the one table of what is tried, and how it is installed.

`python -m tests.clients.environments` makes all that are missing, which `tests/run.py` does while other tests run. They
lie in `.venv-clients/` and stay until the table or Python changes. Packages are asked for by name, with ranges.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-clients"

ENVIRONMENTS: dict[str, list[str]] = {
    # The ranges behind the first three are what the installer finds after minutes of trying: its answer, up front.
    "langchain": [
        *["databricks-langchain>=0.21,<0.22", "databricks-openai>=0.18,<1", "openai>=2,<3"],
        *["databricks-sdk>=0.156,<0.157", "langchain>=1.4,<1.4.8", "langchain-core<1.7.3", "mlflow>=3.17,<4"],
        *["numpy<2", "openai-agents<0.21", "pandas<3.1", "unitycatalog-client<0.4.1"],
    ],
    "mlflow-2.9": ["mlflow-skinny==2.9.2", "setuptools<81"],  # it imports pkg_resources, which later ones lack
    "mlflow-2.22": ["mlflow-skinny>=2.22,<2.23"],
    "mlflow-3": ["mlflow-skinny>=3.17,<4"],
    "databricks-sdk": ["databricks-sdk>=0.150,<1", "openai>=2,<3", "langchain-openai>=1,<2"],
    "openai": ["openai>=2,<3"],
}
"""Requirements by name, the slowest to install first."""

SIDE_BY_SIDE = 2
"""Installations at a time: they unpack and wait in turn."""


def python_of(name: str) -> Path:
    """The interpreter of an environment, which is made first if it is missing."""
    folder = FOLDER / name
    with _alone(name):
        if _stamp(folder).exists() and _stamp(folder).read_text() == _wanted(name):
            return _interpreter(folder)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=False, symlinks=True)
        _install(folder, ENVIRONMENTS[name])
        _stamp(folder).write_text(_wanted(name))
    return _interpreter(folder)


def make(names: Sequence[str] = tuple(ENVIRONMENTS)) -> None:
    """Makes all that are missing, some at a time."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for _ in pool.map(python_of, names):
            pass


def _install(folder: Path, requirements: Sequence[str]) -> None:
    """Installs with this interpreter's own pip, which saves each environment one."""
    command = [sys.executable, "-m", "pip", "--python", str(_interpreter(folder)), "install", "--quiet"]
    options = ["--no-compile", "--disable-pip-version-check", "--no-input", "--retries", "5"]
    done = subprocess.run([*command, *options, *requirements], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"installing {' '.join(requirements)}: {done.stderr.strip()}")


def _interpreter(folder: Path) -> Path:
    return folder / "bin" / "python"


def _stamp(folder: Path) -> Path:
    return folder / ".installed"


def _wanted(name: str) -> str:
    """What the environment must have been made of."""
    return hashlib.sha256("\n".join([sys.version, *ENVIRONMENTS[name]]).encode()).hexdigest()


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process makes an environment; others wait for it."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    os.nice(10)
    make(sys.argv[1:] or tuple(ENVIRONMENTS))
