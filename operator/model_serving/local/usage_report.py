"""What `model-serving usage` prints: calls and tokens by endpoint, caller, entity or day. Called by `cli.py`.

From the state folder of `model-serving run`, or from lines of an access log, such as `kubectl logs` prints them.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from model_serving.local.errors import InputError
from model_serving.local.folder import StateFolder
from model_serving.local.usage_store import WHOLE, Query, UsageStore, open_usage

Rows = Sequence[dict[str, Any]]

_AGO = re.compile(r"(\d{1,6})([mhdw])").fullmatch
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TITLES = {"input_tokens": "INPUT", "output_tokens": "OUTPUT", "cached_tokens": "CACHED", "p50_ms": "P50 MS"}
_TITLES |= {"p95_ms": "P95 MS", "last": "LAST CALL"}
_BATCH = 5000
NOBODY = "–"


def parse_since(text: str, now: datetime) -> str:
    """`30m`, `24h`, `7d`, `2w`, or a date or time, as the records write it. Raises `InputError`."""
    ago = _AGO(text)
    try:
        moment = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InputError(
            f"--since {text} is no time: write 30m, 24h, 7d or 2w, a date such as 2026-01-31, "
            "or a time such as 2026-01-31T08:00:00Z"
        ) from None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def sums_of_state(state: Path, query: Query) -> Rows:
    """What the calls to `model-serving run` amount to. Raises `InputError`."""
    folder = StateFolder(state)
    try:
        store = open_usage(folder.usage, read_only=True)
    except sqlite3.Error:
        raise InputError(
            f"{folder.root} holds no records of calls: start `model-serving run` and call an endpoint, "
            "name its --state, or read a cluster's log with --file"
        ) from None
    return _sums(store, query, folder.usage)


def sums_of_log(lines: Iterable[bytes], query: Query, name: str) -> Rows:
    """What the calls in an access log amount to. Raises `InputError` when it holds lines, but no calls."""
    store = open_usage(None)
    found, read, rest = 0, 0, iter(lines)
    while batch := list(islice(rest, _BATCH)):
        read += len(batch)
        found += store.add(batch)
    if read and not found:
        store.close()
        raise InputError(
            f"{name} holds {read} lines, but no line of an access log: give it what `kubectl logs` prints of an "
            'endpoint\'s pods, lines that hold {"type":"call",…'
        )
    return _sums(store, query, name)


def usage_table(rows: Rows, query: Query) -> Table:
    """Usage for people, with a line for everything together."""
    table = Table(box=None, pad_edge=False, show_footer=len(rows) > 1)
    for number, name in enumerate(query.by):
        table.add_column(name.upper(), overflow="fold", footer="TOTAL" if number == 0 else "")
    for name in list(rows[0])[len(query.by) :] if rows else ():
        total = f"{sum(row[name] for row in rows):,}" if name in WHOLE else ""
        table.add_column(_TITLES.get(name, name.upper()), justify="right", footer=total, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_shown(name, value)) for name, value in row.items()))  # a string would be read as markup
    return table


def usage_json(rows: Rows) -> str:
    """Usage for programs: a list of objects."""
    return json.dumps(list(rows), indent=1)


def usage_csv(rows: Rows) -> str:
    """Usage for spreadsheets, with a head line; empty when there were no calls."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _sums(store: UsageStore, query: Query, name: object) -> Rows:
    try:
        return store.sums(query)
    except sqlite3.Error as error:
        raise InputError(f"{name} cannot be read: {error}") from None
    finally:
        store.close()


def _shown(name: str, value: Any) -> str:
    if name == "last":
        return str(value)[:19].replace("T", " ")
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value) or NOBODY
