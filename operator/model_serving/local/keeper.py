"""Keeps a run as its files say: looks again and again, and tells the router what it saw. Called by `runner.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from model_serving.local.front import Router, users_message
from model_serving.local.inputs import Applied, Inputs
from model_serving.local.listing import Row
from model_serving.local.report import Report
from model_serving.local.rounds import Rounds
from model_serving.local.supervised import Supervised
from model_serving.local.users import UsersWatch
from model_serving.local.workspace import View, Workspace

_BUSY_SECONDS = 0.2
_IDLE_SECONDS = 0.5
_SUMMARY_SECONDS = 20.0
"""How long the summary waits for endpoints that do not come up."""
_WORRYING_FAILURES = 3
_LOOK_SECONDS = 5.0
"""How long somebody waits for a look at what was just written."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run consists of.

    `token` is what callers need, unless a users file says who they are; `helpers` have to be up as well.
    """

    inputs: Inputs
    users: UsersWatch
    router: Router
    workspace: Workspace
    session: aiohttp.ClientSession
    base: str
    token: str | None
    helpers: Sequence[Supervised] = ()


class Keeper:
    """The loop of a run."""

    def __init__(self, report: Report, stop: asyncio.Event) -> None:
        self._report = report
        self._stop = stop
        self._awake = asyncio.Event()
        self._rounds = Rounds()
        self._noted: set[str] = set()
        self._said: dict[str, Row] = {}
        self._summed_up = False
        self._worried = False
        self._born = time.monotonic()

    def wake(self) -> None:
        """Something changed: look at once."""
        self._awake.set()

    async def looked(self) -> None:
        """Looks at once, and returns when the router knows what that look found; sooner if it takes too long."""
        self.wake()
        await self._rounds.another(_LOOK_SECONDS)

    def note(self, text: str) -> None:
        """Says that something happened."""
        self._report.note(text)

    def tell(self, applied: Applied) -> None:
        """Says what came of a look at the files."""
        for text in (*applied.notes, *applied.changes):
            self._report.note(text)
        for text in applied.faults:
            self._report.fault(text)

    async def keep(self, parts: Parts) -> None:
        """Goes on until it is told to stop."""
        stopping = asyncio.create_task(self._stop.wait())
        while not stopping.done():
            self._awake.clear()
            with self._rounds.one():
                self.tell(parts.inputs.refresh(datetime.now(UTC)))
                for fault in parts.users.refresh():
                    self._report.fault(fault)
                view = await parts.workspace.look(datetime.now(UTC))
                parts.router.set_users(users_message(parts.users.users))
                parts.router.set_table(view.table)
            await self._say(parts, view)
            awake = asyncio.create_task(self._awake.wait())
            pause = _IDLE_SECONDS if view.settled else _BUSY_SECONDS
            await asyncio.wait({stopping, awake}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            awake.cancel()
        self._rounds.end()

    async def _say(self, parts: Parts, view: View) -> None:
        self._worry([parts.router.process, *parts.helpers])
        for note in view.notes:
            if note not in self._noted:
                self._report.note(note)
        self._noted = set(view.notes)
        if self._summed_up:
            for row in view.rows:
                if self._said.get(row.name) != row:
                    self._report.change(row)
        elif (view.settled or time.monotonic() - self._born > _SUMMARY_SECONDS) and await self._answers(parts):
            self._report.summary(parts.base, parts.token, view.rows)
            self._summed_up = True
        elif time.monotonic() - self._born > 1 and not self._said:
            self._report.note(f"starting {len(view.rows)} endpoints …")
        if self._summed_up or time.monotonic() - self._born > 1:
            self._said = {row.name: row for row in view.rows}

    async def _answers(self, parts: Parts) -> bool:
        """Whether the router has everything that it needs, and the helpers are up."""
        child = parts.router.process.child
        if child is None or any(helper.child is None for helper in parts.helpers):
            return False
        try:
            url = f"http://127.0.0.1:{child.admin_port}/readyz"
            async with parts.session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _worry(self, processes: Sequence[Supervised]) -> None:
        """Says so when a process does not come up."""
        failing = [process for process in processes if process.failures >= _WORRYING_FAILURES]
        if failing and not self._worried:
            self._report.fault(f"{failing[0].program.log.stem} does not start: {failing[0].last_words}")
        self._worried = bool(failing)
