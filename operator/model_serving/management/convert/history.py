"""The versions of an endpoint's config, for the extension routes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_serving.lifecycle.revision import Outcome, Revision, serving
from model_serving.lifecycle.situation import parse_time
from model_serving.management.convert.problems import respelt
from model_serving.management.convert.rest import kept_keys
from model_serving.management.convert.standing import as_written, begun
from model_serving.management.convert.writing import write
from model_serving.stores import Stored


def history_body(stored: Stored) -> dict[str, Any]:
    """`{"versions": [{config_version, serving, outcome, started_at, message, config}]}`, newest first.

    `outcome`: PENDING, SERVED, FAILED, CANCELED or SUPERSEDED; `started_at` in ms; `config` as in REST.
    """
    return {"versions": [_version(stored, revision) for revision in _versions(stored)]}


def version_config(stored: Stored, config_version: int) -> Mapping[str, Any] | None:
    """The manifest of that version's config, to be asked for again (rollback); None when it is not kept."""
    found = next((r for r in _versions(stored) if r.config_version == config_version), None)
    return as_written(found.config).written() if found else None


def _versions(stored: Stored) -> list[Revision]:
    """One revision for each version, newest first: one that served, if any did, else the last."""
    chosen: dict[int, Revision] = {}
    for revision in sorted(stored.history, key=lambda r: (r.outcome is Outcome.SERVED, r.number)):
        chosen[revision.config_version] = revision
    return [chosen[number] for number in sorted(chosen, reverse=True)]


def _version(stored: Stored, revision: Revision) -> dict[str, Any]:
    base = serving(stored.history)
    moment = parse_time(begun(stored, revision) or "")
    told = [revision.cause if revision.outcome is Outcome.FAILED else "", revision.message]
    return {
        "config_version": revision.config_version,
        "serving": base is not None and base.config_version == revision.config_version,
        "outcome": revision.outcome.value.upper(),
        "started_at": int(moment.timestamp() * 1000) if moment else 0,
        "message": respelt(": ".join(text for text in told if text)),
        "config": write(as_written(revision.config), kept_keys(stored)),
    }
