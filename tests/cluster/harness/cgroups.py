"""The control groups under which a node's pods run.  Made before a kubelet starts, removed with its machine."""

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
REMOVE_SECONDS = 15


def make_cgroups(name: str) -> None:
    """One group per hierarchy (version 1), or one in all (version 2)."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 starts these empty, and then nothing can run there
            if hierarchy != ROOT and (group / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def remove_cgroups(name: str) -> None:
    """Remove the groups, deepest first; waits for the last process in them to be gone.

    Raises:
        RuntimeError: something in them is still alive after 15 s.
    """
    deadline = time.monotonic() + REMOVE_SECONDS
    left = [hierarchy / name for hierarchy in _hierarchies()]
    while left := [group for group in left if not _remove(group)]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"control groups cannot be removed, something runs in them: {', '.join(map(str, left))}")
        time.sleep(0.05)


def _remove(group: Path) -> bool:
    if not group.is_dir():
        return True
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True


def _hierarchies() -> list[Path]:
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [Path(fields[1]) for fields in _mounts() if fields[2] in {"cgroup", "cgroup2"}]


def _mounts() -> list[list[str]]:
    return [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
