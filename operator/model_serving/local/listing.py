"""The endpoints of a state folder as rows: for the runner's table, and for `model-serving status` beside it."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model_serving.api.conditions import ConditionType
from model_serving.api.endpoint import ServingEndpoint
from model_serving.local.errors import InputError
from model_serving.local.folder import StateFolder
from model_serving.local.store import open_store


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint in short. `ready` is the Ready condition, `reason` and `message` say why."""

    name: str
    ready: bool
    reason: str
    message: str
    model: str
    task: str
    config_version: int
    url: str

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def row_of(endpoint: ServingEndpoint) -> Row:
    """An endpoint's row, from its status."""
    status = endpoint.status
    ready = next((c for c in status.conditions if c.type == ConditionType.READY), None)
    return Row(
        name=endpoint.endpoint_name,
        ready=ready is not None and ready.status == "True",
        reason=ready.reason if ready else "Reconciling",
        message=ready.message if ready else "the endpoint was just seen",
        model=status.model,
        task=status.task,
        config_version=status.config_version,
        url=status.url,
    )


def status(state: Path) -> list[Row]:
    """The endpoints below a state folder, as the runner sees them. Raises `InputError`."""
    folder = StateFolder(state)
    try:
        store = open_store(folder.database, read_only=True)
        try:
            rows = [row_of(record.endpoint) for record in store.records()]
        finally:
            store.close()
    except sqlite3.Error as error:
        if folder.database.is_file() and not isinstance(error, sqlite3.OperationalError):
            raise InputError(f"{folder.database} cannot be read: {error}; name another folder with --state") from None
        raise InputError(f"{folder.root} holds no endpoints: start `model-serving run`, or name its --state") from None
    return rows if folder.in_use() else [replace(row, **_NOT_RUNNING) for row in rows]


_NOT_RUNNING: dict[str, Any] = {
    "ready": False,
    "reason": "NotRunning",
    "message": "nothing serves it: start `model-serving run`",
}
