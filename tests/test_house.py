"""The rules of the house that no linter knows: sizes, source roots, what must never stand in a file."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "operator" / "model_serving"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted(p for p in (ROOT / "tests").rglob("*.py"))

# Hosts that only a lock file or an install script with download addresses would name.
REGISTRIES = re.compile(
    "|".join(
        (
            "files" + r"\.pythonhosted",
            r"pypi\." + "org",
            r"registry\.npm" + "js",
            r"proxy\.golang" + r"\.org",
            r"static\.crates" + r"\.io",
        )
    )
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    return [p for line in listed.stdout.decode().splitlines() if (p := ROOT / line).is_file()]


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef, text: list[str]) -> int:
    """Non-blank lines without the docstring."""
    body = function.body
    first = body[0]
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    skipped = range(first.lineno, (first.end_lineno or 0) + 1) if documented else range(0)
    span = range(function.lineno, (function.end_lineno or 0) + 1)
    return sum(bool(text[n - 1].strip()) for n in span if n not in skipped)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_stay_small_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    lines = text.splitlines()
    assert len(lines) <= 500, "a file over 500 lines holds more than one noun"
    assert ast.get_docstring(tree) or not text.strip(), "a module says what it is for and who calls it"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert lines_of(node, lines) <= 50, f"{node.name} is over 50 lines"


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 800


def test_the_source_root_is_no_package() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists(), "it would shadow the standard library's operator"


def test_no_download_address_and_no_path_of_a_machine_in_any_file() -> None:
    for path in tracked():
        text = path.read_text(errors="ignore")
        assert not REGISTRIES.search(text), f"{path} names a package registry"
        assert "/" + "work/main" not in text and "/" + "root/" not in text, f"{path} names a path of a machine"


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(ROOT / ".venv/bin/lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
