"""API keys as a platform mounts them: one file per key, named by its digest. Read by `state.py` and `router_app.py`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from model_serving.proxy.auth import Principal, TokenTable
from model_serving.proxy.files import Watched
from model_serving.proxy_config import ApiKey


class ApiKeys:
    """The keys in a folder, which need not exist: the Secret is optional."""

    def __init__(self, folder: Path) -> None:
        self._folder = Watched(folder)
        self.table = TokenTable({})
        self.problem = ""
        """What could not be taken over; empty when all could."""

    def refresh(self) -> bool:
        """Takes over what changed on disk; whether anything did."""
        if not self._folder.changed():
            return False
        found: dict[str, Principal] = {}
        bad = 0
        for path in self._paths():
            try:
                key = msgspec.json.decode(path.read_bytes(), type=ApiKey)
                found[path.name.lower()] = Principal(key.principal, frozenset(key.groups))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                bad += 1
        self.problem = f"{bad} API keys cannot be read: each must be a JSON object with principal and groups"
        if not bad:
            self.problem = ""
        self.table = TokenTable(found)
        return True

    def _paths(self) -> list[Path]:
        try:
            return [path for path in sorted(self._folder.path.iterdir()) if not path.name.startswith(".")]
        except OSError:
            return []
