"""Errors of the local platform that a user can put right; `runner.py` prints them without a traceback."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from model_serving.stores import Away

log = logging.getLogger(__name__)


class InputError(Exception):
    """What a user gave cannot be used. Each line of the text says what, where, and what to do."""


@contextmanager
def saved(doing: str) -> Iterator[None]:
    """Turns what the machine fails (a full disk, a database that is away) into `Away`, for callers of REST."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        log.error("%s: %s", doing, error)
        raise Away(f"{doing}: the state folder of this run fails: free some space, then try again") from None
