"""What is asked of the operating system: cores, free ports, and the processes of a target."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 5.0


class Unavailable(Exception):
    """Something that the benchmark needs is not there; the text says what and what to do."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core drives and which is measured; the same one where there is only one."""

    driver: int
    target: int

    @classmethod
    def of_this_machine(cls) -> Cores:
        """The first two cores that this process may use."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[1 % len(cores)])


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes started within run on `core` only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_command(*command: str, cwd: Path | None = None, seconds: float = 120, **environment: str) -> None:
    """Runs a program to its end. Unavailable, with its last word, when it fails or takes longer."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end within {seconds:g} s") from None
    except OSError as error:
        raise Unavailable(f"{command[0]} does not run: {error.strerror}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Unavailable(f"{Path(command[0]).name} failed: {last}")


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def resident_bytes(pids: list[int]) -> int:
    """Resident memory of processes, each counted whole."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that this one started, and waits until it is gone."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait(STOP_SECONDS)
