"""How a run ends: on Ctrl-C or SIGTERM, with some time for calls in flight. Called by `runner.py`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Protocol

from model_serving.local.report import Report

_SILENT_SECONDS = 1.5


class Stoppable(Protocol):
    """Something that drains, or ends at once."""

    async def stop(self) -> None:
        """Drains; returns when everything has ended."""

    def kill(self) -> None:
        """Ends it at once; `stop` then returns."""


class Ending:
    """The wish to end: asked for by one signal, hurried by a second one."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._hurry = asyncio.Event()

    @classmethod
    def on_signals(cls, loop: asyncio.AbstractEventLoop) -> Ending:
        """Listens to SIGINT and SIGTERM."""
        ending = cls()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ending.ask)
        return ending

    def ask(self) -> None:
        """One signal has come."""
        (self._hurry if self.asked.is_set() else self.asked).set()

    async def carry_out(self, parts: Sequence[Stoppable], grace: float, report: Report) -> None:
        """Stops the parts in order; what has not ended after `grace` seconds, or at a second signal, is killed."""
        report.note("ending: no new calls are taken")
        stopping = asyncio.create_task(_stop_all(parts))
        if not await _done(stopping, _SILENT_SECONDS):
            report.note(f"calls in flight get {grace:g} seconds; Ctrl-C again ends them at once")
            hurry = asyncio.create_task(self._hurry.wait())
            await asyncio.wait({stopping, hurry}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
        while not await _done(stopping, 0.2):
            for part in parts:
                part.kill()
        report.note("ended")


async def _stop_all(parts: Sequence[Stoppable]) -> None:
    for part in parts:
        await part.stop()


async def _done(task: asyncio.Task[None], seconds: float) -> bool:
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return bool(done)
