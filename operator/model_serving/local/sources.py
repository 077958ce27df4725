"""Where endpoints and Secrets are declared: the files given with `-f`. Called by `runner.py`, read by `inputs.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_serving.local.documents import Documents, read_documents
from model_serving.local.errors import InputError


class Source(Protocol):
    """Something that declares endpoints and Secrets: a file, or the built-in sample."""

    @property
    def name(self) -> str:
        """How it is called in messages and in the store."""

    def stamp(self) -> object:
        """Differs from the last one when the source may have changed."""

    def read(self) -> Documents:
        """What it declares. Raises `InputError`."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file given with `-f`."""

    path: Path

    @property
    def name(self) -> str:
        """Its absolute path."""
        return str(self.path.absolute())

    def stamp(self) -> object:
        """Time, size and identity of the file; None while it is away."""
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def read(self) -> Documents:
        """What the file declares."""
        return read_documents(self.path)


class GivenFiles:
    """What was given with `-f`. A folder stands for the YAML files that are in it at the time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._gone: set[str] = set()
        self._listed: list[Source] = []

    def list(self) -> Sequence[Source]:
        """The files. Raises `InputError`."""
        files = dict.fromkeys(file for path in self._paths for file in _yaml_files(path))
        found: list[Source] = [FileSource(file) for file in files]
        # An editor may take a file away for a moment: it is gone when it is missing twice in a row.
        gone = {source.name for source in self._listed} - {source.name for source in found}
        if gone and gone != self._gone:
            self._gone = gone
            return self._listed
        self._gone, self._listed = set(), found
        return found


def _yaml_files(path: Path) -> Sequence[Path]:
    """The path, or the YAML files of a folder; hidden ones are an editor's."""
    if not path.is_dir():
        return [path]
    try:
        found = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not found:
        raise InputError(f"{path} holds no .yaml files")
    return found
