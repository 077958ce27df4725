"""Values of Secrets as files that only their owner may read. Called by `inputs.py`.

Below the folder: NAMESPACE/NAME/KEY, which is what a proxy expects below its `secrets` folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from model_serving.local.folder import write_private


def write_secret(folder: Path, key: tuple[str, str], values: Mapping[str, bytes]) -> bool:
    """Makes the files of one Secret as given; True if anything changed."""
    target = folder.joinpath(*key)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    changed = False
    for file in target.iterdir():
        if file.name not in values:
            file.unlink()
            changed = True
    for name, value in values.items():
        file = target / name
        if not file.is_file() or file.read_bytes() != value:
            write_private(file, value)
            changed = True
    return changed


def remove_secret(folder: Path, key: tuple[str, str]) -> None:
    """Removes the files of one Secret."""
    shutil.rmtree(folder.joinpath(*key), ignore_errors=True)


def secret_exists(folder: Path, key: tuple[str, str]) -> bool:
    """Whether the Secret is there, whatever its keys."""
    return folder.joinpath(*key).is_dir()
