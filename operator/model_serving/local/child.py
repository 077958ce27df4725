"""One child process: started, fed over its control pipe, watched and ended. Called by `supervised.py`.

A child prints one JSON line with its ports when it listens, then its access log, and ends by itself when its control
pipe does: no child outlives its runner for longer than its calls in flight.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTROL_FD = "MODEL_SERVING_CONTROL_FD"
_LARGEST_LOG = 10 * 1024 * 1024
_LAST_WORDS = 500
_READ_BYTES = 256 * 1024
_END_SECONDS = 5.0

Lines = Callable[[bytes], Awaitable[None]]
"""Takes whole lines of what a child prints."""


class ChildError(Exception):
    """A child that did not come to listen; the text holds its last words."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: arguments, environment, and the file that takes what it says.

    The number of the control pipe stands in the environment, and for `CONTROL_FD` in the arguments.
    """

    arguments: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    lines: Lines | None = None
    """Takes what it prints once it listens; None: nobody does."""
    inherited: Sequence[int] = ()
    """Descriptors that it gets under the same numbers."""


class Child:
    """A process that listens. Made by `start_child`."""

    def __init__(self, process: asyncio.subprocess.Process, control: asyncio.WriteTransport, program: Program) -> None:
        self._process = process
        self._control = control
        self._log = program.log
        self._lines = program.lines
        self._reading: asyncio.Task[None] | None = None
        self.port = 0
        self.admin_port = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, message: Mapping[str, Any]) -> None:
        """Sends one message; a child that is gone misses it."""
        if not self._control.is_closing():
            self._control.write(json.dumps(message).encode() + b"\n")

    async def listen(self, seconds: float) -> None:
        """Waits until it listens. Raises `ChildError`."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
            ports = json.loads(line)
            self.port, self.admin_port = ports["listening"], ports.get("admin", 0)
        except (TimeoutError, ValueError, KeyError, TypeError):
            self.end(signal.SIGKILL)
            await self._process.wait()
            raise ChildError(self.last_words() or "it ended without a word") from None
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def wait(self) -> int:
        """Its exit code, negative for a signal; by then everything that it printed is handed on."""
        code = await self._process.wait()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_END_SECONDS)
            self._reading.cancel()
        self._control.close()
        return code

    def end(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal: SIGTERM drains."""
        if self._process.returncode is None:
            try:
                # Not by the process object, which looks first whether the child has ended: it then takes the exit code
                # away from asyncio, which says on the terminal that it does not know this child.
                os.kill(self._process.pid, number)
            except ProcessLookupError:
                pass

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        """Reads on, so that the child never writes to a full pipe."""
        tail = b""
        while data := await stdout.read(_READ_BYTES):
            if self._lines is None:
                continue
            whole, end, rest = data.rpartition(b"\n")
            if end:
                await self._lines(tail + whole + end)
                tail = rest
            else:
                tail = (tail + rest)[-_READ_BYTES:]

    def last_words(self) -> str:
        """The last line that it logged."""
        return last_line(self._log)


async def start_child(program: Program) -> Child:
    """Starts a process with a control pipe. Raises `ChildError`."""
    program.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    reading, writing = os.pipe()
    try:
        with _open_log(program.log) as log:
            process = await asyncio.create_subprocess_exec(
                *(str(reading) if argument == CONTROL_FD else argument for argument in program.arguments),
                env={**program.environ, CONTROL_FD: str(reading)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=[reading, *program.inherited],
                # Its own session: Ctrl-C reaches the runner alone, which ends the children in order.
                start_new_session=True,
            )
    except OSError as error:
        os.close(writing)
        raise ChildError(f"cannot start {program.arguments[0]}: {error.strerror}") from None
    finally:
        os.close(reading)
    pipe = os.fdopen(writing, "wb", 0)
    control, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.Protocol, pipe)
    return Child(process, control, program)


def _open_log(path: Path) -> Any:
    too_large = path.is_file() and path.stat().st_size > _LARGEST_LOG
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if too_large else 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab")


def last_line(path: Path) -> str:
    """The last line of a log that says something, cut to a length that suits a message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:_LAST_WORDS] for line in reversed(lines) if line.strip()), "")
