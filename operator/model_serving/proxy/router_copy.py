"""A copy on disk of what a router was told, for a restart while its feed gets no answer. Used by `feeding.py`.

It holds names, addresses, grants and public keys, and no secret. Written a moment after changes, by a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from model_serving.proxy_config import Issuer, News

log = logging.getLogger(__name__)
WRITE_SECONDS = 1.0
"""The least time between two writes: while pods come and go a table may change many times a second."""


class Kept(News, frozen=True, omit_defaults=True):
    """What the file holds."""

    at: float = 0.0
    """When the table was told, in seconds since the epoch."""


class RouterCopy:
    """The file, and what it should hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = _read(path)
        self._dirty = False
        self._next_write = 0.0
        self._writing: asyncio.Future[None] | None = None
        self._complained = False

    @property
    def kept(self) -> Kept:
        """What was told last, to this process or an earlier one."""
        return self._kept

    def note(self, news: News, wall: float) -> None:
        """News have come at `wall`, seconds since the epoch: they will be written."""
        at = self._kept.at if news.table is None else wall
        self._kept = Kept(**(_parts(self._kept) | _parts(news)), at=at)
        self._dirty = True

    def tick(self, now: float) -> None:
        """Writes what changed, if the last write is long enough ago; `now` is the loop's clock."""
        if not self._dirty or now < self._next_write or self._writing is not None:
            return
        self._dirty, self._next_write = False, now + WRITE_SECONDS
        content = msgspec.json.encode(self._kept)
        self._writing = asyncio.get_running_loop().run_in_executor(None, self._write, content)
        self._writing.add_done_callback(self._written)

    def close(self) -> None:
        """Writes what has not been written."""
        if self._dirty and self._writing is None:
            self._dirty = False
            self._write(msgspec.json.encode(self._kept))

    def _written(self, _: asyncio.Future[None]) -> None:
        self._writing = None

    def _write(self, content: bytes) -> None:
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            beside.unlink(missing_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            beside.replace(self._path)
            self._complained = False
        except OSError as error:
            if not self._complained:  # once: a full disk stays full
                log.error("the copy of the router's table cannot be written to %s: %s", self._path, error.strerror)
            self._complained = True


def recorded_issuers(path: Path | None) -> Sequence[Issuer]:
    """The issuers in a copy: a feed that cannot read their keys goes on with these. None without a copy."""
    return (_read(path).issuers or ()) if path is not None else ()


def _read(path: Path) -> Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.error("the copy of the router's table in %s cannot be used: %s", path, type(error).__name__)
    return Kept()


def _parts(news: News) -> dict[str, Any]:
    parts = {name: getattr(news, name) for name in News.__struct_fields__}
    return {name: value for name, value in parts.items() if value is not None}
