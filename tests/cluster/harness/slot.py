"""A slot: the number of a cluster on this computer, its addresses and its folder.  Used by the machine.

A slot is taken by a lock on a file.  The machine's first process inherits the lock, so a free lock over an existing
folder means: that machine is gone, clean up after it.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness.cgroups import remove_cgroups

SLOTS = 32
RUNS = Path("/var/lib/model-serving-test")  # one place per computer: addresses and link names are the computer's


@dataclass(frozen=True, slots=True)
class Slot:
    """Addresses of one cluster: ``10.190.N.0/30`` link, ``10.191.N.0/24`` pods, ``10.192.N.0/24`` Services."""

    number: int

    @property
    def folder(self) -> Path:
        return _runs() / str(self.number)

    @property
    def link(self) -> str:
        return f"mstest{self.number}"

    @property
    def cgroup(self) -> str:
        return f"model-serving-test-{self.number}"

    @property
    def host(self) -> str:
        return f"10.190.{self.number}.1"

    @property
    def node(self) -> str:
        return f"10.190.{self.number}.2"

    @property
    def pods(self) -> str:
        return f"10.191.{self.number}.0/24"

    @property
    def services(self) -> str:
        return f"10.192.{self.number}.0/24"

    def is_taken(self) -> bool:
        """Whether a machine lives in this slot."""
        lock = self._lock()
        if lock is None:
            return True
        os.close(lock)
        return False

    def take(self) -> int | None:
        """Take the slot, emptied; the file descriptor that holds it, or None when a machine lives in it."""
        lock = self._lock()
        if lock is not None:
            self._clean()
        return lock

    def clear(self) -> None:
        """Remove what a machine that is gone has left; nothing happens to one that lives."""
        lock = self.take()
        if lock is not None:
            os.close(lock)

    def _clean(self) -> None:
        subprocess.run(["ip", "link", "delete", self.link], capture_output=True, check=False)
        remove_cgroups(self.cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _lock(self) -> int | None:
        file = os.open(_runs() / f"{self.number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return file


def take_slot() -> tuple[Slot, int]:
    """The first free slot, cleaned, and the file descriptor that holds its lock.

    Raises:
        RuntimeError: all slots are taken.
    """
    for slot in every_slot():
        lock = slot.take()
        if lock is not None:
            slot.folder.mkdir(mode=0o755)
            return slot, lock
    raise RuntimeError(f"all {SLOTS} cluster slots are taken; stop one: python -m tests.cluster.harness down")


def every_slot() -> Iterator[Slot]:
    return (Slot(number) for number in range(SLOTS))


def clean_leftovers() -> None:
    """Clean every slot whose machine is gone."""
    for slot in every_slot():
        if slot.folder.exists():
            slot.clear()


def _runs() -> Path:
    RUNS.mkdir(mode=0o700, parents=True, exist_ok=True)
    return RUNS
