"""What is given with `-f`: files, and folders that are listed again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_serving.local.errors import InputError
from model_serving.local.sources import GivenFiles


def listed(given: GivenFiles) -> list[str]:
    return [Path(source.name).name for source in given.list()]


def test_a_file_that_is_added_to_a_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    given = GivenFiles([tmp_path])
    assert listed(given) == ["a.yaml"]
    for name in ("b.yml", "notes.txt", ".#a.yaml", "c.yaml~"):
        (tmp_path / name).touch()
    assert listed(given) == ["a.yaml", "b.yml"]


def test_a_file_is_gone_when_it_is_missing_twice(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).touch()
    given = GivenFiles([tmp_path])
    listed(given)
    (tmp_path / "b.yaml").unlink()
    assert listed(given) == ["a.yaml", "b.yaml"]
    assert listed(given) == ["a.yaml"]


def test_a_file_that_an_editor_replaces_is_never_gone(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).touch()
    given = GivenFiles([tmp_path])
    for _ in range(2):
        listed(given)
        (tmp_path / "b.yaml").unlink()
        assert listed(given) == ["a.yaml", "b.yaml"]
        (tmp_path / "b.yaml").touch()
        assert listed(given) == ["a.yaml", "b.yaml"]


def test_a_file_that_stands_in_a_folder_too_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    assert listed(GivenFiles([tmp_path / "a.yaml", tmp_path])) == ["a.yaml"]


@pytest.mark.parametrize("make", [False, True], ids=["a folder that is away", "a folder without YAML"])
def test_an_empty_folder_is_a_fault_and_no_wish(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a.yaml").touch()
    given = GivenFiles([folder])
    listed(given)
    (folder / "a.yaml").unlink()
    if make:
        with pytest.raises(InputError, match=str(folder)):
            given.list()
    else:
        folder.rmdir()
        (source,) = given.list()  # as a file that cannot be read
        with pytest.raises(InputError, match=str(folder)):
            source.read()
