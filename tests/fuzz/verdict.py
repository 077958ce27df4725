"""What one case has shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Verdict:
    """`finding` is empty when all is well, else it begins with the kind of fault, up to a colon."""

    accepted: int = 0
    refused: int = 0
    stricter: str = ""
    """What the oracle takes and we refuse: allowed, and counted."""
    finding: str = ""

    @property
    def kind(self) -> str:
        """The kind of fault: stays the same while an input is made smaller."""
        return self.finding.partition(":")[0]


class Subject(Protocol):
    """Something that is fuzzed."""

    name: str

    def make(self, seed: str) -> bytes:
        """The input of a case."""

    async def check(self, data: bytes, seed: str) -> Verdict:
        """Runs one case; the same input and seed give the same verdict."""
