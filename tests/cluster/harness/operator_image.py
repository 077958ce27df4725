"""The operator's image, made without Docker from the same Dockerfile.  Used by the tests that run real pods.

Three layers: Debian with Python, the dependencies, the project.  A change of the code makes only the last one anew.
"""

import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.harness.base_image import PATH, base_layer
from tests.cluster.harness.dockerfile import Recipe, read_recipe
from tests.cluster.harness.image import Image, Layer, add_file, add_tree, image_name, make_layer
from tests.cluster.harness.paths import PROJECT, fingerprint
from tests.cluster.harness.progress import step

PYTHON = (3, 11)  # Debian bookworm's; byte code is made here and read there
SITE = "usr/local/lib/python3.11/dist-packages"
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")


def operator_image(project: Path = PROJECT) -> Image:
    """The image of the project as it is now, ``model-serving.test/model-serving:TAG``, with a tag of its content.

    Raises:
        RuntimeError: pip failed, or this is not Python 3.11.
        ValueError: the Dockerfile says something that the builder does not know.
    """
    if sys.version_info[:2] != PYTHON:
        raise RuntimeError(f"the image's Python is {PYTHON[0]}.{PYTHON[1]}, run the tests with the same")
    recipe = read_recipe(project / "operator" / "Dockerfile")
    layers = (base_layer(), _dependencies(project, recipe), _application(project, recipe))
    start = {**recipe.start, "Env": [f"PATH={PATH}", *recipe.start.get("Env", [])]}
    return Image(image_name("model-serving", layers, start), layers, start)


def _dependencies(project: Path, recipe: Recipe) -> Layer:
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    wanted = sorted([*described["dependencies"], *recipe.requirements])

    def fill(tar: tarfile.TarFile) -> None:
        with step("installing the image's dependencies"):
            _install(tar, wanted)
        add_file(tar, "usr/local/bin/python", b'#!/bin/sh\nexec /usr/bin/python3 "$@"\n', mode=0o755)

    return make_layer(f"dependencies-{fingerprint([b'1', *(each.encode() for each in wanted)])}", fill)


def _application(project: Path, recipe: Recipe) -> Layer:
    def fill(tar: tarfile.TarFile) -> None:
        with step("building the project's wheel"), tempfile.TemporaryDirectory() as folder:
            wheel = _wheel(project, recipe, Path(folder))
            _install(tar, [str(wheel)], "--no-deps")

    sources = [path for name in recipe.sources for path in _files(project / name)]
    parts = [part for path in sources for part in (str(path.relative_to(project)).encode(), path.read_bytes())]
    return make_layer(f"application-{fingerprint([b'1', *parts])}", fill)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file() and not _is_generated(path))


def _is_generated(path: Path) -> bool:
    return path.suffix == ".pyc" or any(part.endswith(".egg-info") for part in path.parts)


def _wheel(project: Path, recipe: Recipe, folder: Path) -> Path:
    copy = folder / "source"  # setuptools leaves files behind in what it builds
    copy.mkdir()
    for name in recipe.sources:
        if (project / name).is_dir():
            shutil.copytree(project / name, copy / name, ignore=IGNORED)
        else:
            shutil.copy(project / name, copy / name)
    isolation = ["--no-build-isolation"] if _has_setuptools() else []
    _pip("wheel", "--no-deps", *isolation, "--wheel-dir", folder, copy)
    return next(folder.glob("*.whl"))


def _has_setuptools() -> bool:
    """Whether the build needs nothing from elsewhere, which saves seconds."""
    try:
        return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
    except importlib.metadata.PackageNotFoundError:
        return False


def _install(tar: tarfile.TarFile, requirements: Sequence[str], *options: str) -> None:
    """Add packages with their byte code, which never goes stale and so survives the tar's dates, and their commands."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")
        _pip("install", "--no-compile", "--only-binary=:all:", "--target", site, *options, *requirements)
        shutil.rmtree(site / "bin", ignore_errors=True)  # they name this computer's Python
        compiler = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*compiler, "-s", site, "-p", f"/{SITE}", site], check=True)
        add_tree(tar, site, SITE)
        for package in importlib.metadata.distributions(path=[str(site)]):
            for command in package.entry_points.select(group="console_scripts"):
                add_file(tar, f"usr/local/bin/{command.name}", _script(command).encode(), mode=0o755)


def _script(command: importlib.metadata.EntryPoint) -> str:
    return f"#!/usr/bin/python3\nimport sys\nfrom {command.module} import {command.attr}\nsys.exit({command.attr}())\n"


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"pip {arguments[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")
