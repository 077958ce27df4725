"""One request to the API server and when it may be sent again. Used by `kube/client.py` only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_serving.kube.errors import KubeError, TooManyRequests, Unavailable

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

Query = dict[str, str]


@dataclass(frozen=True, slots=True)
class Retries:
    """When a request is sent again: at most `attempts` times in all, only if it is safe, waiting up to `longest` s."""

    attempts: int = 3
    base: float = 0.25
    longest: float = 4.0

    def pause(self, error: KubeError, attempt: int, rand: float, *, safe: bool) -> float | None:
        """Seconds to wait after the failed `attempt` (from 1), or None to give up. `rand` is in [0, 1)."""
        if attempt >= self.attempts:
            return None
        if isinstance(error, TooManyRequests):
            return error.retry_after * (1 + 0.2 * rand) if error.retry_after <= self.longest else None
        if isinstance(error, Unavailable) and (safe or isinstance(error, Unsent)):
            return min(self.longest, self.base * 2.0 ** (attempt - 1)) * (0.5 + rand)
        return None


class Unsent(Unavailable):
    """No connection could be made, so nothing was sent."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    body: bytes | None = None
    safe: bool = True
    """Whether sending it twice does no more than sending it once."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def selectors(labels: str, fields: str) -> Query:
    """The query of a selection; empty texts select everything."""
    return ({"labelSelector": labels} if labels else {}) | ({"fieldSelector": fields} if fields else {})


def typed(content: str) -> dict[str, str]:
    """Headers of a request with a body."""
    return {"Content-Type": content, "Accept": JSON}


def encode(value: Any) -> bytes:
    """JSON, as short as it goes."""
    return json.dumps(value, separators=(",", ":")).encode()
