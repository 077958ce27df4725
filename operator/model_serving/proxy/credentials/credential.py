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
GONE_SECONDS = 0.5
"""How long a file must have been gone to be believed gone: less than the time between two looks of the store."""


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
        self.content = ""
        """What the file holds, without blanks around it: a document may have many lines."""
        self.value: str = ""
        """The same where it can be sent in a header; else empty."""
        self.problem = CREDENTIAL_MISSING
        """Why there is no content."""
        self.loaded_at = 0.0
        self._previous = ""
        self._previous_until = 0.0
        self._gone_since: float | None = None
        self._watched = Watched(layout.credential(file))

    def refresh(self, now: float, wall: float) -> None:
        """Reads the file when it has changed. A file that is gone is believed gone when it still is a moment later: it
        may be replaced in two steps."""
        if not self._watched.changed() and self._gone_since is None:
            return
        content, problem = self._read()
        if problem == CREDENTIAL_MISSING and self.content:
            self._gone_since = now if self._gone_since is None else self._gone_since
            if now < self._gone_since + GONE_SECONDS:
                return
        self._gone_since = None
        self.problem = problem
        if content != self.content:
            if self.content:
                self._previous, self._previous_until = self.content, now + PREVIOUS_SECONDS
            self.content = content
            self.value = content if _is_sendable(content) else ""
            self.loaded_at = wall if content else 0.0

    def other_than(self, used: str, now: float) -> str:
        """A value that may cure a 401 that `used` got: the one loaded since, or the former one. Empty without."""
        if self.value and self.value != used:
            return self.value
        usable = self._previous != used and now < self._previous_until and _is_sendable(self._previous)
        return self._previous if usable else ""

    @property
    def fault(self) -> str:
        """What is wrong with it, in words for callers."""
        return f"the key {self.file.key} of Secret {self.file.secret} is {self.reports()[0].problem}"

    def known_values(self) -> list[str]:
        """All values that must not leave this process."""
        return [value for value in (self.content, self._previous) if value]

    def reports(self) -> list[CredentialReport]:
        """How it stands, without its value."""
        return [self.report("" if self.value else "holds characters that cannot be sent in a header")]

    def report(self, problem: str) -> CredentialReport:
        """The same by who knows better what is wrong with the content."""
        return CredentialReport(self.file.secret, self.file.key, moment(self.loaded_at), self.problem or problem)

    def _read(self) -> tuple[str, str]:
        try:
            content = self._watched.read().strip().decode()
        except FileNotFoundError:
            return "", CREDENTIAL_MISSING
        except UnicodeDecodeError:
            return "", "not text"
        except (OSError, ValueError):
            return "", "unreadable"
        return content, "" if content else "empty"


def _is_sendable(content: str) -> bool:
    return content.isascii() and is_clean(content.encode())
