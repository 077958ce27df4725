"""The OpenAPI document of one endpoint: how to query it. Pure."""

from __future__ import annotations

from typing import Any

from model_serving.stores import Stored


def openapi_body(stored: Stored, base_url: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document with one path per served entity. `base_url`: scheme and host."""
    raise NotImplementedError
