"""One credential: a value read from a file and re-read when that changes.

After a rotation the former value stays for five minutes: a provider may learn of a new key later than we do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from model_serving.proxy.files import Watched
from model_serving.proxy.http.head import is_clean
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialFile, CredentialReport, Layout, TokenReport

PREVIOUS_SECONDS = 300.0


def moment(wall: float) -> str:
    """Seconds since the epoch as ISO 8601; empty for 0."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds") if wall else ""


class Steady:
    """What sources that fetch nothing have in common."""

    value: Any
    pending = False

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return bool(self.value)

    def wait(self, done: Callable[[], None]) -> Any:
        """Nothing is ever pending."""
        raise NotImplementedError

    def tokens(self) -> list[TokenReport]:
        """None."""
        return []


class Credential(Steady):
    """One credential: its value now, its former value for a while, and what is wrong with it."""

    def __init__(self, file: CredentialFile, layout: Layout) -> None:
        self.file = file
        self.value: str = ""
        self.problem = CREDENTIAL_MISSING
        self.loaded_at = 0.0
        self._previous = ""
        self._previous_until = 0.0
        self._vanished = False
        self._watched = Watched(layout.credential(file))

    def refresh(self, now: float, wall: float) -> None:
        """Reads the file when it has changed. A file that is gone is believed gone at the second look."""
        if not self._watched.changed() and not self._vanished:
            return
        value, problem = self._read()
        if problem == CREDENTIAL_MISSING and self.value and not self._vanished:
            self._vanished = True
            return
        self._vanished = False
        self.problem = problem
        if value != self.value:
            if self.value:
                self._previous, self._previous_until = self.value, now + PREVIOUS_SECONDS
            self.value = value
            self.loaded_at = wall if value else 0.0

    def other_than(self, used: str, now: float) -> str:
        """A value that may cure a 401 that `used` got: the one loaded since, or the former one. Empty without."""
        if self.value and self.value != used:
            return self.value
        return self._previous if self._previous != used and now < self._previous_until else ""

    @property
    def fault(self) -> str:
        """What is wrong with it, in words for callers."""
        return f"the key {self.file.key} of Secret {self.file.secret} is {self.problem}"

    def known_values(self) -> list[str]:
        """All values that must not leave this process."""
        return [value for value in (self.value, self._previous) if value]

    def reports(self) -> list[CredentialReport]:
        """How it stands, without its value."""
        return [CredentialReport(self.file.secret, self.file.key, moment(self.loaded_at), self.problem)]

    def _read(self) -> tuple[str, str]:
        try:
            value = self._watched.read().strip()
        except FileNotFoundError:
            return "", CREDENTIAL_MISSING
        except (OSError, ValueError):
            return "", "unreadable"
        if not value:
            return "", "empty"
        if not is_clean(value) or not value.isascii():
            return "", "holds characters that cannot be sent in a header"
        return value.decode(), ""
