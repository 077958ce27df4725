"""Which Secrets there are, whose they are and who may use them; their values are files. A part of `store.py`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SecretRow:
    """One Secret.

    `source` names the file that declares it, empty when it was made through REST. `scope` is its Databricks spelling,
    empty for the Secret of an endpoint; `owner` is then that endpoint's uid, once it is known. `acls` holds permissions
    by principal.
    """

    key: Key
    source: str = ""
    scope: str = ""
    owner: str = ""
    acls: Mapping[str, str] = field(default_factory=dict)


class SecretRows:
    """The table of Secrets."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def all(self) -> dict[Key, SecretRow]:
        """All Secrets, by namespace and name."""
        rows = [_row(found) for found in self._db.execute("SELECT * FROM secrets ORDER BY namespace, name")]
        return {row.key: row for row in rows}

    def find(self, key: Key) -> SecretRow | None:
        """One Secret."""
        found = self._db.execute("SELECT * FROM secrets WHERE namespace = ? AND name = ?", key).fetchone()
        return _row(found) if found else None

    def write(self, row: SecretRow) -> None:
        """Adds a Secret or replaces what is known of it."""
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO secrets (namespace, name, source, scope, owner, acls) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (*row.key, row.source, row.scope, row.owner, json.dumps(dict(row.acls), sort_keys=True)),
            )

    def forget(self, key: Key) -> None:
        """Removes what is known of a Secret."""
        with self._db:
            self._db.execute("DELETE FROM secrets WHERE namespace = ? AND name = ?", key)


def _row(found: sqlite3.Row) -> SecretRow:
    return SecretRow(
        (found["namespace"], found["name"]),
        found["source"],
        found["scope"],
        found["owner"],
        json.loads(found["acls"]),
    )
