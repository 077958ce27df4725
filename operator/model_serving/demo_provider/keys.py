"""Which API keys the demo provider accepts; asked by `server.py` before each call."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from pathlib import Path


class AcceptedKeys:
    """The keys given at the start and those of a file that is read again when it changes.

    The file has one key per line; empty lines and lines that begin with `#` are skipped. Without keys and file
    everybody is let in; a file that is missing or empty lets nobody in.
    """

    def __init__(self, keys: Iterable[str] = (), file: Path | None = None) -> None:
        self._keys = tuple(key.encode() for key in keys)
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._from_file: tuple[bytes, ...] = ()

    def accept(self, key: str) -> bool:
        """Whether `key` is let in now."""
        if self._file is None and not self._keys:
            return True
        given = key.encode()
        return any(hmac.compare_digest(given, known) for known in (*self._keys, *self._read_file()))

    def _read_file(self) -> tuple[bytes, ...]:
        if self._file is None:
            return ()
        try:
            stat = self._file.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                lines = map(bytes.strip, self._file.read_bytes().splitlines())
                self._from_file = tuple(line for line in lines if line and not line.startswith(b"#"))
                self._seen = seen
        except OSError:
            self._seen, self._from_file = None, ()
        return self._from_file
