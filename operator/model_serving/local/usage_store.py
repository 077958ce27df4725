"""Records of calls in SQLite, and what they amount to. Filled by `usage_writer.py`, read by `usage_report.py`.

A database of its own beside the runner's: writing usage never holds up the endpoints. The newest million calls of
the last thirty days are kept.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from model_serving.usage_record import UsageRecord, parse_line

KEPT_CALLS = 1_000_000
KEPT_DAYS = 30

_COLUMNS = UsageRecord.__struct_fields__
_INSERT = f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"

GROUPS = {
    "endpoint": "endpoint",
    "principal": "principal",
    "entity": "entity",
    "model": "model",
    "error": "error_code",
    "day": "substr(ts, 1, 10)",
    "hour": "substr(ts, 1, 13)",
}
"""What usage may be grouped by, and how SQL says it. Days and hours are UTC's."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which calls, by what. `since` is ISO 8601 in UTC like the records' own; empty is any."""

    by: tuple[str, ...] = ("endpoint",)
    endpoint: str = ""
    principal: str = ""
    since: str = ""


class UsageStore:
    """The database. One writer; other processes may read at any time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            self._db.create_aggregate(name, 1, _percentile(share))

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def add(self, lines: Iterable[bytes]) -> int:
        """Adds the calls that stand in lines of an access log, and tells how many there were."""
        records = [record for line in lines if (record := parse_line(line)) is not None]
        with self._db:
            self._db.executemany(_INSERT, map(_row, records))
        return len(records)

    def prune(self, now: datetime, *, calls: int = KEPT_CALLS, days: int = KEPT_DAYS) -> None:
        """Forgets what is too old or too much."""
        oldest = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S")
        with self._db:
            self._db.execute("DELETE FROM calls WHERE ts < ?", (oldest,))
            self._db.execute("DELETE FROM calls WHERE rowid <= (SELECT max(rowid) FROM calls) - ?", (calls,))

    def sums(self, query: Query) -> list[dict[str, Any]]:
        """What the calls amount to, by group: days in order, others with the most calls first."""
        groups = [f"{GROUPS[name]} AS {name}" for name in query.by]
        names = ", ".join(query.by)
        order = names if query.by[0] in ("day", "hour") else f"calls DESC, {names}"
        where, values = _where(query)
        rows = self._db.execute(
            f"SELECT {', '.join(groups)}, {_SUMS} FROM calls{where} GROUP BY {names} ORDER BY {order}", values
        )
        return [dict(row) for row in rows]


_SUMS = """count(*) AS calls, sum(status <> 200) AS errors,
    CAST(total(input_tokens) AS INTEGER) AS input_tokens, CAST(total(output_tokens) AS INTEGER) AS output_tokens,
    CAST(total(cached_tokens) AS INTEGER) AS cached_tokens,
    p50(ms) AS p50_ms, p95(ms) AS p95_ms, max(ts) AS last"""
WHOLE = ("calls", "errors", "input_tokens", "output_tokens", "cached_tokens")
"""The columns that can be added up."""


def open_usage(path: Path | None, *, read_only: bool = False) -> UsageStore:
    """Opens the database, for no path one in memory. Raises `sqlite3.Error`, read-only also when it does not exist."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}" if path is not None else ":memory:"
    db = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
    db.row_factory = sqlite3.Row
    if not read_only:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _make_table(db)
    if path is not None and not read_only:
        path.chmod(0o600)
    return UsageStore(db)


def _make_table(db: sqlite3.Connection) -> None:
    """The table with all columns of this release; an older release's gets those that it lacks."""
    db.execute(f"CREATE TABLE IF NOT EXISTS calls ({', '.join(_COLUMNS)})")
    found = {row["name"] for row in db.execute("PRAGMA table_info (calls)")}
    for name in _COLUMNS:
        if name not in found:
            db.execute(f"ALTER TABLE calls ADD COLUMN {name}")
    db.execute("CREATE INDEX IF NOT EXISTS calls_ts ON calls (ts)")


def _where(query: Query) -> tuple[str, list[str]]:
    conditions = {
        "endpoint = ?": query.endpoint,
        "principal = ?": query.principal,
        "ts >= ?": query.since,
    }
    asked = {condition: value for condition, value in conditions.items() if value}
    return (f" WHERE {' AND '.join(asked)}" if asked else ""), list(asked.values())


def _row(record: UsageRecord) -> Sequence[Any]:
    values = [getattr(record, name) for name in _COLUMNS]
    context = _COLUMNS.index("usage_context")
    values[context] = msgspec.json.encode(record.usage_context).decode() if record.usage_context else ""
    return values


def _percentile(share: float) -> type:
    class Percentile:
        """An aggregate of SQL: the value that `share` of the values do not exceed."""

        def __init__(self) -> None:
            self._values = array("d")

        def step(self, value: float) -> None:
            self._values.append(value)

        def finalize(self) -> float:
            values = sorted(self._values)
            return values[min(len(values) - 1, int(share * len(values)))]

    return Percentile
