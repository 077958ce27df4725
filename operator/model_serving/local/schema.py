"""The tables of the state folder's database, and how those of an older release become them. Called by `store.py`."""

from __future__ import annotations

import sqlite3

_TABLES = """
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

_ADDED = (
    # When a user last wrote the endpoint, and how often: whoever writes names the version that was read.
    ("endpoints", "updated", "TEXT NOT NULL DEFAULT ''", "UPDATE endpoints SET updated = created"),
    ("endpoints", "version", "INTEGER NOT NULL DEFAULT 1", ""),
    # The Databricks spelling, empty for the Secret of an endpoint, whose uid is then the owner.
    ("secrets", "scope", "TEXT NOT NULL DEFAULT ''", "UPDATE secrets SET scope = name"),
    ("secrets", "owner", "TEXT NOT NULL DEFAULT ''", ""),
    ("secrets", "acls", "TEXT NOT NULL DEFAULT '{}'", ""),
)
"""Columns that came later: table, name, type, and what fills them once."""


def lay_out(db: sqlite3.Connection) -> None:
    """Makes the tables, or adds what they lack. Raises `sqlite3.Error`."""
    db.executescript(_TABLES)
    for table, column, kind, fill in _ADDED:
        if column in {row[1] for row in db.execute(f"PRAGMA table_info ({table})")}:
            continue
        with db:
            db.execute("BEGIN")
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
            if fill:
                db.execute(fill)
