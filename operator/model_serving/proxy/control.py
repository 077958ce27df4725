"""The control pipe of the local platform: what the parent tells a process, one JSON object per line.

The end of the pipe is the end of the parent. Secrets come this way because arguments and environments can be read by
others.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

import msgspec

from model_serving.proxy.auth import Principal
from model_serving.proxy_config import News

log = logging.getLogger(__name__)
MAX_LINE_BYTES = 16 * 1024 * 1024


class User(msgspec.Struct, frozen=True):
    """The owner of a token. `admin` is for management; querying is decided by grants alone."""

    principal: str
    groups: list[str] = []
    admin: bool = False

    def as_principal(self) -> Principal:
        """The user as a caller."""
        return Principal(self.principal, frozenset(self.groups))


class Message(News, frozen=True):
    """One line; each part that it carries replaces the former value."""

    router_key: str | None = None
    users: dict[str, User] | None = None
    """Users by the hexadecimal SHA-256 of their token."""
    management: str | None = None
    """HOST:PORT of the REST API."""


class ControlPipe(asyncio.Protocol):
    """Cuts the pipe into messages."""

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        *complete, self._tail = (self._tail + data).split(b"\n")
        for line in complete:
            self._take(line)
        if len(self._tail) > MAX_LINE_BYTES:
            log.error("a control message is larger than %d bytes: ignored", MAX_LINE_BYTES)
            self._tail = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = msgspec.json.decode(line, type=Message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.error("a control message is not understood: ignored")  # its text may hold the key
            return
        self._on_message(message)


async def open_control(fd: int, pipe: ControlPipe) -> None:
    """Reads the inherited descriptor from now on. OSError when it is none."""
    await asyncio.get_running_loop().connect_read_pipe(lambda: pipe, os.fdopen(fd, "rb", buffering=0))
