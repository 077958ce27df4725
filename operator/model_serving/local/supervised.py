"""A child process that is started again when it ends by itself. Called by `proxies.py`, `front.py` and `runner.py`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from model_serving.local.child import Child, ChildError, Program, start_child

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_LONG_LIFE = 10.0
"""Seconds of life after which an end counts as the first one again."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the owner of a child wants to know: `greet` before anything else is sent to it, `wake` on any change."""

    greet: Callable[[Child], None]
    wake: Callable[[], None]


class Supervised:
    """Keeps one program running until `stop`."""

    def __init__(self, program: Program, hooks: Hooks, *, start_seconds: float = 30.0) -> None:
        self.program = program
        self.child: Child | None = None
        """The child while it listens."""
        self.failures = 0
        """How often it ended, or did not come up, in a row."""
        self.last_words = ""
        self._hooks = hooks
        self._start_seconds = start_seconds
        self._starting: Child | None = None
        self._leaving = asyncio.Event()
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """Asks the child to drain and waits until it has ended."""
        self._leaving.set()
        self._signal(signal.SIGTERM)
        await self._task

    def kill(self) -> None:
        """Ends the child at once; `stop` then returns."""
        self._leaving.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        child = self.child or self._starting
        if child is not None:
            child.end(number)

    async def _keep_running(self) -> None:
        while not self._leaving.is_set():
            born = time.monotonic()
            try:
                await self._live()
            except ChildError as error:
                self.last_words = str(error)
            self.child = self._starting = None
            if self._leaving.is_set():
                return
            self.failures = 1 if time.monotonic() - born > _LONG_LIFE else self.failures + 1
            self._hooks.wake()
            await self._pause()

    async def _live(self) -> None:
        """One life of the child, from its start to its end."""
        child = self._starting = await start_child(self.program)
        if self._leaving.is_set():
            child.end(signal.SIGTERM)
        self._hooks.greet(child)
        await child.listen(self._start_seconds)
        self.child = child
        self._hooks.wake()
        code = await child.wait()
        how = f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"
        self.last_words = f"{how}; last line of its log: {child.last_words()}"

    async def _pause(self) -> None:
        pause = min(_FIRST_PAUSE * 2 ** min(self.failures - 1, 10), _LONGEST_PAUSE)
        try:
            await asyncio.wait_for(self._leaving.wait(), pause)
        except TimeoutError:
            pass
