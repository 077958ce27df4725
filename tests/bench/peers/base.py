"""What every peer says of itself; read by `run.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.workload import Speech

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer is started: a folder of its own, its port, one more that it may use, the provider's port."""

    folder: Path
    port: int
    spare: int
    provider: int

    @property
    def base(self) -> str:
        """The provider's address, as OpenAI's clients are told it."""
        return f"http://127.0.0.1:{self.provider}/v1"


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway. `get` brings its program (Unavailable); `command` writes its settings and says how it is started.

    `does`: what it is set up to do for each call. `slow`: thousands of microseconds per call; it gets fewer rounds of
    longer windows."""

    name: str
    does: str
    get: Callable[[Path, Say], Path]
    command: Callable[[Path, Place], list[str]]
    speech: Callable[[], Speech] = Speech
    slow: bool = False
