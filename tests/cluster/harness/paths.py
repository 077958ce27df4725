"""Where things lie: the project, the Go modules, the cache outside the clone.  Used by the whole harness."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
TOOLS = PROJECT / "tests" / "cluster" / "tools"


def cache() -> Path:
    """The folder for what is slow to make; ``MODEL_SERVING_CACHE`` moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("MODEL_SERVING_CACHE") or Path(base) / "model-serving")
    folder = root / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fingerprint(parts: Iterable[bytes]) -> str:
    """A short name for content: the same parts give the same name."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]
