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
from model_serving.local.schema import lay_out
from model_serving.local.secret_rows import Key, SecretRows


@dataclass(frozen=True, slots=True)
class Record:
    """An endpoint as it is stored. `source` names the file that declares it; empty: no file does.

    `updated`: when a user last wrote it (RFC 3339). The resource version counts what users write, not the status.
    """

    endpoint: ServingEndpoint
    history: History
    source: str
    updated: str = ""


class Store:
    """The database. One writer; other processes may read at any time (`open_store` with `read_only`)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.secrets = SecretRows(connection)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def records(self) -> list[Record]:
        """All endpoints, oldest first."""
        return [self._record(row) for row in self._db.execute("SELECT * FROM endpoints ORDER BY rowid").fetchall()]

    def find(self, key: Key) -> Record | None:
        """One endpoint by namespace and name."""
        row = self._db.execute("SELECT * FROM endpoints WHERE namespace = ? AND name = ?", key).fetchone()
        return self._record(row) if row else None

    def named(self, endpoint_name: str) -> Record | None:
        """The endpoint that clients call so; the oldest, should there be two. Reads no others: it is asked often."""
        rows = self._db.execute(
            "SELECT * FROM endpoints WHERE coalesce(json_extract(spec, '$.endpointName'), name) = ? ORDER BY rowid",
            (endpoint_name,),
        )
        row = rows.fetchone()
        return self._record(row) if row else None

    def apply(self, wanted: ServingEndpoint, source: str, now: datetime) -> bool:
        """Creates the endpoint or makes it as wanted; True if anything changed. A changed spec counts on."""
        known = self.find(wanted.key)
        if known is None:
            self._insert(wanted, source, now)
            return True
        old, new = known.endpoint, wanted
        step = old.spec.written() != new.spec.written()
        written = step or (old.metadata.labels, old.metadata.annotations) != (
            new.metadata.labels,
            new.metadata.annotations,
        )
        if not written and known.source == source:
            return False
        with self._db:
            self._db.execute(
                "UPDATE endpoints SET generation = generation + ?, version = version + ?, updated = ?, source = ?, "
                "labels = ?, annotations = ?, spec = ? WHERE namespace = ? AND name = ?",
                (step, written, _stamp(now) if written else known.updated, source, *_content(wanted), *wanted.key),
            )
        return True

    def _insert(self, endpoint: ServingEndpoint, source: str, now: datetime) -> None:
        values = (*endpoint.key, str(uuid.uuid4()), _stamp(now), _stamp(now), source, *_content(endpoint))
        with self._db:
            self._db.execute(
                "INSERT INTO endpoints (namespace, name, uid, created, updated, source, labels, annotations, spec, "
                "generation, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, '{}')",
                values,
            )

    def delete(self, key: Key) -> None:
        """Removes an endpoint, its revisions, and what is known of the Secrets that it owns."""
        with self._db:
            self._db.execute(
                "DELETE FROM secrets WHERE owner IN (SELECT uid FROM endpoints WHERE namespace = ? AND name = ?)", key
            )
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

    def _record(self, row: sqlite3.Row) -> Record:
        # Whoever only reads may look at the database of an older release.
        known = dict(row)
        return Record(_endpoint(known), self._history(known["uid"]), known["source"], known.get("updated", ""))

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
        lay_out(db)
        path.chmod(0o600)
    return Store(db)


def _endpoint(row: Mapping[str, Any]) -> ServingEndpoint:
    metadata = {
        "name": row["name"],
        "namespace": row["namespace"],
        "uid": row["uid"],
        "generation": row["generation"],
        "resourceVersion": str(row.get("version", "")),
        "creationTimestamp": row["created"],
        "labels": json.loads(row["labels"]),
        "annotations": json.loads(row["annotations"]),
    }
    return ServingEndpoint.model_validate(
        {"metadata": metadata, "spec": json.loads(row["spec"]), "status": json.loads(row["status"])}
    )


def _content(endpoint: ServingEndpoint) -> tuple[str, str, str]:
    """What users write: labels, annotations, spec."""
    meta = endpoint.metadata
    return _json(meta.labels), _json(meta.annotations), _json(endpoint.spec.written())


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
