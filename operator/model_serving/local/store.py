"""Endpoints, their revisions and their status in one SQLite file that survives `kill -9`. Called by `runner.py`.

Stands where the API server stands on Kubernetes: it gives out uid and generation and keeps what was written.
Values of Secrets never come here.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.status import EndpointStatus
from model_serving.lifecycle.revision import History, Outcome, Revision, Shape

_SCHEMA = """
CREATE TABLE IF NOT EXISTS endpoints (
    namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL UNIQUE, generation INTEGER NOT NULL,
    created TEXT NOT NULL, source TEXT NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,
    spec TEXT NOT NULL, status TEXT NOT NULL, PRIMARY KEY (namespace, name));
CREATE TABLE IF NOT EXISTS revisions (
    uid TEXT NOT NULL REFERENCES endpoints (uid) ON DELETE CASCADE, name TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (uid, name));
CREATE TABLE IF NOT EXISTS secrets (
    namespace TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (namespace, name));
"""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """An endpoint as it is stored. `source` names the file that declares it; empty: no file does."""

    endpoint: ServingEndpoint
    history: History
    source: str


class Store:
    """The database. One writer; other processes may read at any time (`open_store` with `read_only`)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def records(self) -> list[Record]:
        """All endpoints, oldest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM endpoints ORDER BY rowid").fetchall()
        return [Record(_endpoint(row), self._history(row["uid"]), row["source"]) for row in rows]

    def find(self, key: Key) -> Record | None:
        """One endpoint by namespace and name."""
        row = self._db.execute(f"SELECT {_COLUMNS} FROM endpoints WHERE namespace = ? AND name = ?", key).fetchone()
        return Record(_endpoint(row), self._history(row["uid"]), row["source"]) if row else None

    def apply(self, wanted: ServingEndpoint, source: str, now: datetime) -> bool:
        """Creates the endpoint or makes it as wanted; True if anything changed. A changed spec counts on."""
        known = self.find(wanted.key)
        meta = wanted.metadata
        labels, annotations, spec = _json(meta.labels), _json(meta.annotations), _json(wanted.spec.manifest())
        with self._db:
            if known is None:
                values = (*wanted.key, str(uuid.uuid4()), _stamp(now), source, labels, annotations, spec)
                self._db.execute("INSERT INTO endpoints VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, '{}')", values)
                return True
            old = known.endpoint
            step = int(old.spec.manifest() != wanted.spec.manifest())
            same = (old.metadata.labels, old.metadata.annotations, known.source) == (
                meta.labels,
                meta.annotations,
                source,
            )
            self._db.execute(
                "UPDATE endpoints SET generation = generation + ?, source = ?, labels = ?, annotations = ?, spec = ? "
                "WHERE namespace = ? AND name = ?",
                (step, source, labels, annotations, spec, *wanted.key),
            )
        return bool(step) or not same

    def delete(self, key: Key) -> None:
        """Removes an endpoint and its revisions."""
        with self._db:
            self._db.execute("DELETE FROM endpoints WHERE namespace = ? AND name = ?", key)

    def write_outcome(self, record: Record, history: History, status: EndpointStatus) -> None:
        """Writes what was decided, where it differs from what is stored."""
        uid = record.endpoint.metadata.uid
        if history == record.history and status == record.endpoint.status:
            return
        with self._db:
            self._db.execute("UPDATE endpoints SET status = ? WHERE uid = ?", (_json(_dump(status)), uid))
            if history != record.history:
                self._db.execute("DELETE FROM revisions WHERE uid = ?", (uid,))
                rows = [(uid, revision.name, _json(_revision_body(revision))) for revision in history]
                self._db.executemany("INSERT INTO revisions VALUES (?, ?, ?)", rows)

    def secrets(self) -> dict[Key, str]:
        """Namespace and name of the Secrets that are there, with the file that declares each."""
        return {(r["namespace"], r["name"]): r["source"] for r in self._db.execute("SELECT * FROM secrets")}

    def write_secrets(self, sources: Mapping[Key, str]) -> None:
        """Remembers which Secrets are there."""
        with self._db:
            self._db.execute("DELETE FROM secrets")
            self._db.executemany(
                "INSERT INTO secrets VALUES (?, ?, ?)", [(*k, source) for k, source in sources.items()]
            )

    def _history(self, uid: str) -> History:
        rows = self._db.execute("SELECT body FROM revisions WHERE uid = ?", (uid,))
        return tuple(sorted((_revision(json.loads(row["body"])) for row in rows), key=lambda r: r.number))


def open_store(path: Path, *, read_only: bool = False) -> Store:
    """Opens the database. Raises `sqlite3.Error`, read-only also when it does not exist."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    db = sqlite3.connect(uri, uri=True, timeout=10)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
        path.chmod(0o600)
    return Store(db)


_COLUMNS = "namespace, name, uid, generation, created, source, labels, annotations, spec, status"


def _endpoint(row: sqlite3.Row) -> ServingEndpoint:
    metadata = {
        "name": row["name"],
        "namespace": row["namespace"],
        "uid": row["uid"],
        "generation": row["generation"],
        "creationTimestamp": row["created"],
        "labels": json.loads(row["labels"]),
        "annotations": json.loads(row["annotations"]),
    }
    return ServingEndpoint.model_validate(
        {"metadata": metadata, "spec": json.loads(row["spec"]), "status": json.loads(row["status"])}
    )


def _dump(status: EndpointStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _revision_body(revision: Revision) -> dict[str, Any]:
    body = {field: getattr(revision, field) for field in _PLAIN}
    return {**body, "config": dict(revision.config), "shape": revision.shape.manifest(), "outcome": revision.outcome}


_PLAIN = ("endpoint", "config_version", "number", "generation", "started_at", "attempt", "cause", "message")


def _revision(body: Mapping[str, Any]) -> Revision:
    plain = {field: body[field] for field in _PLAIN}
    return Revision(**plain, config=body["config"], shape=Shape.parse(body["shape"]), outcome=Outcome(body["outcome"]))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
