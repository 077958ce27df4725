"""Revisions: a config version together with what else shapes the proxies. One value, immutable, named by a hash.

A platform stores the history of an endpoint as a tuple of these (Kubernetes: ControllerRevisions, local: SQLite rows):
what names a revision never changes, its outcome does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from model_serving.api.config import EndpointConfig

HASH_LENGTH = 10


class Outcome(StrEnum):
    """What became of a revision."""

    PENDING = "Pending"
    """Being rolled out, or waiting for its turn."""
    SERVED = "Served"
    """All proxies ran it once; the newest of these serves."""
    FAILED = "Failed"
    """Its proxies did not become ready in time; taken back."""
    CANCELED = "Canceled"
    """Taken back on a user's word."""
    SUPERSEDED = "Superseded"
    """Another revision took its place before it was done, or it was taken back by asking for the serving config."""


def digest(value: Any) -> str:
    """A short, stable hash of a JSON-able value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


@dataclass(frozen=True, slots=True)
class Shape:
    """What shapes the proxies besides the config: the image, the endpoint's proxy settings, the platform's settings.

    `proxy` holds only the fields that reach a pod; replicas and autoscaling are not among them.
    `platform` holds the operator's settings that reach a pod (grace periods and the like).
    """

    image: str = ""
    proxy: Mapping[str, Any] = field(default_factory=dict)
    platform: Mapping[str, Any] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        """As plain data, for storing and hashing."""
        return {"image": self.image, "proxy": dict(self.proxy), "platform": dict(self.platform)}

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Shape:
        """The opposite of `manifest`."""
        return cls(str(data.get("image", "")), dict(data.get("proxy", {})), dict(data.get("platform", {})))


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of an endpoint.

    `config` is the manifest (YAML spelling) of the versioned part of the spec, `number` the order of revisions,
    `generation` the generation that asked for it, `attempt` the value of the retry annotation at that time,
    `started_at` when the present attempt began (RFC 3339, UTC).
    """

    endpoint: str
    config: Mapping[str, Any]
    config_version: int
    shape: Shape
    number: int
    generation: int = 0
    started_at: str = ""
    attempt: str = ""
    outcome: Outcome = Outcome.PENDING
    cause: str = ""
    message: str = ""

    @property
    def name(self) -> str:
        """The hash that names this revision everywhere: ConfigMap, pod template, `/status` of a proxy."""
        return digest([self.endpoint, self.config, self.config_version, self.shape.manifest()])

    @property
    def parsed_config(self) -> EndpointConfig:
        """The config as a model. It was valid when the revision was made."""
        return EndpointConfig.model_validate(self.config)

    def ended(self, outcome: Outcome, cause: str = "", message: str = "") -> Revision:
        """The same revision with its outcome."""
        return replace(self, outcome=outcome, cause=cause, message=message)


History = tuple[Revision, ...]


def serving(history: History) -> Revision | None:
    """The revision that serves: the newest one that was ever fully rolled out."""
    served = [r for r in history if r.outcome is Outcome.SERVED]
    return max(served, key=lambda r: r.number, default=None)


def put(history: History, revision: Revision) -> History:
    """The history with `revision` in the place of its namesake, or added; ordered by number."""
    others = [r for r in history if r.name != revision.name]
    return tuple(sorted([*others, revision], key=lambda r: r.number))


def next_number(history: History) -> int:
    """The number of the next revision."""
    return max((r.number for r in history), default=0) + 1
