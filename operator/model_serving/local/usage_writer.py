"""Takes the access-log lines of the child processes into the usage database. Called by `runner.py` and `child.py`.

In batches, from a thread of its own: neither calls nor the runner wait for the disk. A database that falls behind is
felt by the children as a reader that stalls: they drop lines and count them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from model_serving.local.errors import InputError
from model_serving.local.report import Report
from model_serving.local.usage_store import UsageStore, open_usage

_BATCH_SECONDS = 0.5
_WAITING_BYTES = 4 * 1024 * 1024
_PRUNE_SECONDS = 600.0

_Work = Callable[[UsageStore, bytes], None]


class UsageWriter:
    """The way into the database. Use as an async context manager: at its end everything that came is written.

    Raises `InputError` when the database cannot be opened.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._waiting: list[bytes] = []
        self._size = 0
        self._room = asyncio.Event()
        self._room.set()
        self._ending = asyncio.Event()
        self._complained = False

    async def __aenter__(self) -> UsageWriter:
        try:
            self._store = await asyncio.to_thread(open_usage, self._path)
        except sqlite3.Error as error:
            raise InputError(f"calls cannot be recorded in {self._path}: {error}; move the file away") from None
        self._task = asyncio.create_task(self._write_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        await self._task
        await asyncio.to_thread(self._store.close)

    async def take(self, lines: bytes) -> None:
        """Takes whole lines; waits while too much waits already."""
        await self._room.wait()
        self._waiting.append(lines)
        self._size += len(lines)
        if self._size > _WAITING_BYTES:
            self._room.clear()

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        next_prune = loop.time()
        while not (self._ending.is_set() and not self._waiting):
            if loop.time() >= next_prune:
                next_prune = loop.time() + _PRUNE_SECONDS
                await self._work(_prune, b"")
            lines, self._waiting, self._size = b"".join(self._waiting), [], 0
            self._room.set()
            if lines:
                await self._work(_add, lines)
            try:
                await asyncio.wait_for(self._ending.wait(), _BATCH_SECONDS)
            except TimeoutError:
                pass

    async def _work(self, what: _Work, lines: bytes) -> None:
        try:
            await asyncio.to_thread(what, self._store, lines)
        except sqlite3.Error as error:
            if not self._complained:  # once: a full disk stays full
                self._report.fault(f"calls are not recorded in {self._path}: {error}")
            self._complained = True
        else:
            self._complained = False


def _add(store: UsageStore, lines: bytes) -> None:
    store.add(lines.splitlines())


def _prune(store: UsageStore, _: bytes) -> None:
    store.prune(datetime.now(UTC))
