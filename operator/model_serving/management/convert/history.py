"""The versions of an endpoint's config, for the extension routes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_serving.stores import Stored


def history_body(stored: Stored) -> dict[str, Any]:
    """`{"versions": [{config_version, outcome, started_at, message, config}]}`, newest first; config as in REST."""
    raise NotImplementedError


def version_config(stored: Stored, config_version: int) -> Mapping[str, Any] | None:
    """The manifest of that version's config, to be asked for again (rollback); None when it is not kept."""
    raise NotImplementedError
