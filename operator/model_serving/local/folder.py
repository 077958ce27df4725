"""The state folder of `model-serving run`: what lies where, who may read it, and who owns it. Called by `runner.py`."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from model_serving.local.errors import InputError

_OURS = {"lock", "secrets", "endpoints", "logs"}
"""What may lie there before the database does."""


class StateFolder:
    """Paths below the state folder; only its owner may look inside.

    lock               held by the one runner that uses the folder
    state.sqlite       endpoints, revisions, status; never the value of a Secret
    usage.sqlite       what calls used; never their content
    user.json          the user that `run` made, with the token
    secrets/NS/NAME/KEY            values of Secrets, 0600
    endpoints/UID/policy/…         the live policy of an endpoint
    endpoints/UID/REVISION/…       root folder of that revision's proxy
    logs/NAME.log                  what the child processes say
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.database = self.root / "state.sqlite"
        self.usage = self.root / "usage.sqlite"
        self.user = self.root / "user.json"
        self.secrets = self.root / "secrets"
        self.endpoints = self.root / "endpoints"
        self.logs = self.root / "logs"

    def prepare(self) -> None:
        """Makes the folders. Raises `InputError`, also for a folder that holds something else."""
        try:
            found = {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()
            if found - _OURS and self.database.name not in found:
                raise InputError(f"{self.root} holds other files: give an empty or a new folder with --state")
            for folder in (self.root, self.secrets, self.endpoints, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as error:
            raise InputError(
                f"cannot use the state folder {self.root}: {error.strerror}; give another with --state"
            ) from None

    def lock(self) -> IO[str]:
        """The lock, held until the returned file is closed or the process ends. Raises `InputError` if it is taken."""
        file = (self.root / "lock").open("a+", encoding="ascii")
        for _ in range(10):
            if _try_lock(file, fcntl.LOCK_EX):
                break
            # Whoever only looks (`in_use`) holds it for a moment.
            time.sleep(0.1)
        else:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise InputError(
                f"the state folder {self.root} is in use by another `model-serving run` (process {owner}): "
                "end that one, or give another folder with --state"
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file

    def in_use(self) -> bool:
        """Whether a runner uses the folder now."""
        try:
            with (self.root / "lock").open("r", encoding="ascii") as file:
                return not _try_lock(file, fcntl.LOCK_SH)
        except OSError:
            return False


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_private(path: Path, content: bytes) -> None:
    """Puts `content` into a file that only its owner may read, at once or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)
