"""The resource's rules, in words for the reader of a file. Called by `documents.py` and `inputs.py`."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from model_serving.api.base import Model
from model_serving.api.endpoint import ServingEndpoint
from model_serving.local.errors import InputError


def parse_endpoint(document: dict[str, Any]) -> ServingEndpoint:
    """The endpoint that `document` describes. Raises `InputError` with one line per fault."""
    try:
        return ServingEndpoint.model_validate(document)
    except ValidationError as error:
        # Never the input itself: somebody may have put a key where a reference belongs.
        faults = [
            f"{_path(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InputError("\n".join(faults)) from None


def check_update(old: ServingEndpoint, new: ServingEndpoint) -> None:
    """What can never change about an endpoint. Raises `InputError` with one line per fault."""
    pairs: tuple[tuple[str, Model, Model], ...] = (
        ("spec", old.spec, new.spec),
        ("spec.config", old.spec.config, new.spec.config),
    )
    faults = [
        f"{path}{rule.field}: {rule.message}"
        for path, before, after in pairs
        for rule in type(after).transitions
        if not rule.holds(after, before)
    ]
    if faults:
        raise InputError("\n".join(faults))


def _path(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.lstrip(".")
