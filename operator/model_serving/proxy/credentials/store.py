"""The values of credentials, read from files and re-read when these change. Used by `upstream.py` and for readiness.

After a rotation the former value stays for five minutes: a provider may learn of a new key later than we do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from model_serving.proxy.files import Watched
from model_serving.proxy.http.head import is_clean
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialFile, CredentialReport, Layout

PREVIOUS_SECONDS = 300.0
REDACTED = b"[redacted]"
"""What stands where a credential's value stood."""


class Credential:
    """One credential: its value now, its former value for a while, and what is wrong with it."""

    def __init__(self, file: CredentialFile, layout: Layout) -> None:
        self.file = file
        self.value = ""
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

    def report(self) -> CredentialReport:
        """How it stands, without its value."""
        loaded = datetime.fromtimestamp(self.loaded_at, UTC).isoformat(timespec="seconds") if self.loaded_at else ""
        return CredentialReport(self.file.secret, self.file.key, loaded, self.problem)

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


class CredentialStore:
    """The credentials that the current config names."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._credentials: dict[CredentialFile, Credential] = {}

    def track(self, files: Iterable[CredentialFile]) -> None:
        """Follows exactly these files from now on."""
        known = self._credentials
        self._credentials = {file: known.get(file) or Credential(file, self._layout) for file in files}

    def refresh(self, now: float, wall: float) -> None:
        """Looks at all files."""
        for credential in self._credentials.values():
            credential.refresh(now, wall)

    def get(self, file: CredentialFile) -> Credential:
        """A credential that is tracked."""
        return self._credentials[file]

    def all(self) -> list[Credential]:
        """All that are tracked."""
        return list(self._credentials.values())

    def scrub(self, text: bytes) -> bytes:
        """`text` without any credential's value: providers repeat keys in their errors."""
        for credential in self._credentials.values():
            for value in credential.known_values():
                text = text.replace(value.encode(), REDACTED)
        return text
