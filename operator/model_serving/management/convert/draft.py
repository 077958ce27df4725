"""REST bodies that create an endpoint or replace its config, as the spec of a resource. Pure.

Two steps, because secrets need I/O in between: a `Draft` lists them, handlers check or write each, `filled` then gives
the spec. A draft has passed every rule of the resource that needs no platform: what a handler still has to ask is
`check_create` or `check_update` (hosts, lock, transitions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_serving.api.endpoint import EndpointSpec


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A `{{secrets/SCOPE/KEY}}` at `path` (REST spelling, as `config.served_entities[0].external_model.…`)."""

    path: str
    scope: str
    key: str


@dataclass(frozen=True, slots=True)
class Plaintext:
    """A key given in plain text. `path` is that of the field without `_plaintext`."""

    path: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """`spec` is the manifest of the spec (camelCase, with `endpointName`) in which each `…SecretRef` holds a
    `SecretUse` or `Plaintext`; `secrets` lists them all."""

    name: str
    spec: Mapping[str, Any]
    secrets: tuple[SecretUse | Plaintext, ...] = ()


def draft_create(body: Mapping[str, Any]) -> Draft:
    """The endpoint that the body of POST /serving-endpoints describes. Raises `InvalidBody`."""
    raise NotImplementedError


def draft_config(body: Mapping[str, Any], current: EndpointSpec) -> Draft:
    """`current` with the config that the body of PUT …/config describes in full. Its name may be empty.
    Raises `InvalidBody`."""
    raise NotImplementedError


def filled(draft: Draft, refs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The spec's manifest with a reference {name, key, scope?} for each path of `draft.secrets`."""
    raise NotImplementedError
