"""The access log: one JSON line per call, written without ever holding up a call.

Records are collected and rendered together; a thread does the writing, because nothing else is sure not to block: the
reader of a pipe may stall, a disk may hang, and a non-blocking flag would be shared with whoever else has the file
open. What the thread cannot get rid of is bounded; beyond that lines are dropped and counted.
"""

from __future__ import annotations

import os
import select
import threading
from queue import SimpleQueue

import msgspec

from model_serving.usage_record import RequestRecord, UsageRecord

BATCH = 256
"""Records that are rendered at once, unless a tick comes first."""
WAITING_BYTES = 4 * 1024 * 1024
CLOSE_SECONDS = 1.0

Record = UsageRecord | RequestRecord

_encode_lines = msgspec.json.Encoder().encode_lines


class AccessLog:
    """Lines on their way to a file descriptor, which it does not own."""

    def __init__(self, fd: int, waiting_bytes: int = WAITING_BYTES) -> None:
        self._fd = fd
        self._waiting_bytes = waiting_bytes
        self._records: list[Record] = []
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._handed = self._lines = self._refused = 0
        self._gone = self._lost = 0  # the thread's own: one writer each, so that no lock is needed

    def write(self, record: Record) -> None:
        """Takes a record; its line is written within a tick."""
        records = self._records
        records.append(record)
        if len(records) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hands what was collected to the thread; called a few times a second."""
        records = self._records
        if not records:
            return
        data = _encode_lines(records)
        self._records = []
        if self._handed - self._gone + len(data) > self._waiting_bytes:
            self._refused += len(records)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="access-log", daemon=True)
            self._thread.start()
        self._handed += len(data)
        self._lines += len(records)
        self._queue.put(data)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Writes what is left, as far as the reader takes it within `seconds`."""
        self.flush()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(b"")
            thread.join(seconds)

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._refused + self._lost

    @property
    def lines(self) -> int:
        """Lines that were written, or are about to be."""
        return self._lines - self._lost

    def _write_all(self) -> None:
        while data := self._queue.get():
            try:
                self._write(data)
            except OSError:  # the reader is gone, or the disk is full: the next lines may fare better
                self._lost += data.count(b"\n")
            self._gone += len(data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody else made it non-blocking
                select.select([], [self._fd], [])
