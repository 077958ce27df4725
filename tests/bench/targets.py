"""What is measured: each target as running processes that answer calls on a port. Used by `rounds.py`.

All forward to the same mock provider, but for `direct`, which is a mock itself: the floor."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.machine import Cores, Unavailable, family, free_port, on_core, resident_bytes, stop
from tests.bench.peers.base import Peer, Place
from tests.bench.workload import TYPICAL, Speech

START_SECONDS = 120.0
LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Target:
    """A running target. `start_seconds`: from its start to its first answer; `slow`: it gets fewer, longer windows."""

    name: str
    port: int
    pids: list[int]
    start_seconds: float
    idle_bytes: int
    speech: Speech
    slow: bool = False


def direct(mock: Path, port: int) -> list[str]:
    """The command of a mock provider."""
    return [str(mock), str(port)]


@contextlib.contextmanager
def running(name: str, core: int, log: Path, command: Callable[[int], Sequence[str]]) -> Iterator[Target]:
    """A target that is one command, given its port; ended at the end. Unavailable when it does not answer."""
    port = free_port()
    with _process(command(port), core, log) as process:
        yield answering(name, port, log, process, Speech())


@contextlib.contextmanager
def peer(asked: Peer, program: Path, folder: Path, cores: Cores, provider: int) -> Iterator[Target]:
    """Another gateway in front of the provider; ended at the end. Unavailable when it does not answer."""
    place = Place(folder, free_port(), free_port(), provider)
    speech, log = asked.speech(), folder / "log"
    with _process(asked.command(program, place), cores.target, log) as process:
        yield replace(answering(asked.name, place.port, log, process, speech), slow=asked.slow)


@contextlib.contextmanager
def _process(arguments: Sequence[str], core: int, log: Path) -> Iterator[Started]:
    began = time.monotonic()
    with on_core(core), log.open("wb") as output:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent)
    try:
        yield Started(process, began)
    finally:
        stop(process)


@dataclass(frozen=True, slots=True)
class Started:
    """A process, and the clock when it was started."""

    process: subprocess.Popen[bytes]
    began: float
    with_it: tuple[int, ...] = ()
    """Further processes that belong to the target."""


def answering(name: str, port: int, log: Path, started: Started, speech: Speech) -> Target:
    """A target once it answers, with its processes and their children.

    Unavailable when it does not in time, or when the process has ended."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port, speech):
        if started.process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
            raise Unavailable(f"{name} does not answer calls: {said[-1][:300]}")
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - started.began
    everyone = [member for pid in (started.process.pid, *started.with_it) for member in family(pid)]
    return Target(name, port, everyone, seconds, resident_bytes(everyone), speech)


def _answers(port: int, speech: Speech) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"authorization": f"Bearer {speech.tokens[0]}", "content-type": "application/json"}
        connection.request("POST", speech.path, TYPICAL.body(speech.model), headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def provider(mock: Path, cores: Cores, folder: Path) -> Iterator[int]:
    """The mock provider that all targets forward to; gives its port."""
    with running("provider", cores.driver, folder / "provider.log", lambda port: direct(mock, port)) as target:
        yield target.port
