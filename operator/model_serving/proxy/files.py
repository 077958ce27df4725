"""Files that change under a running process: noticing it by `stat`, and reading them.

Looking at inode, size and times works on every filesystem and sees every way of writing: kubelet's atomic swap of the
`..data` link, a rename, an edit in place, deletion and appearance. Looked at about once a second by `app.py`.
"""

from __future__ import annotations

from pathlib import Path

Signature = tuple[int, ...]
ABSENT: Signature = ()
MAX_BYTES = 8 * 1024 * 1024


def signature(path: Path) -> Signature:
    """What tells one state of a file from another; ABSENT when there is none.

    A folder's changes when entries come, go or are renamed into place, not when one is edited in place.
    """
    try:
        found = path.stat()
    except OSError:
        return ABSENT
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Watched:
    """One file or folder: tells when it has changed since last asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: Signature | None = None

    def changed(self) -> bool:
        """Whether it is another one than at the last call; True at the first."""
        now = signature(self.path)
        before, self._seen = self._seen, now
        return now != before

    def read(self) -> bytes:
        """The content. OSError; ValueError when it is too large to be what it should be."""
        if self.path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return self.path.read_bytes()
