"""Writes the story of an endpoint as Kubernetes Events, for `kubectl describe`.

Called by the reconciler on transitions.
"""

from __future__ import annotations

import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from model_serving.api.endpoint import API_VERSION, GROUP, KIND, ServingEndpoint
from model_serving.controller.metrics import Metrics
from model_serving.kube.client import Client
from model_serving.kube.errors import KubeError
from model_serving.kube.resources import EVENTS, Manifest
from model_serving.lifecycle.events import Event

log = logging.getLogger(__name__)

_CONTROLLER = f"{GROUP}/operator"
_REPEAT_SECONDS = 600.0
_REMEMBERED = 4096
_LONGEST_NOTE = 1000
"""The API takes 1024 bytes."""


class Recorder:
    """Writes events, each at most once in ten minutes."""

    def __init__(
        self, client: Client, metrics: Metrics, *, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._identity = identity
        self._clock = clock
        self._written: OrderedDict[tuple[str, Event], float] = OrderedDict()

    async def record(self, endpoint: ServingEndpoint, events: Iterable[Event]) -> None:
        """Writes those that were not written just now. Never raises: a lost event harms nobody."""
        for event in events:
            if self._is_repeat(endpoint.metadata.uid, event):
                continue
            try:
                await self._client.create(self._manifest(endpoint, event))
                self._metrics.event()
            except KubeError as error:
                log.warning("writing an event about %s: %s", "/".join(endpoint.key), error)

    def _is_repeat(self, uid: str, event: Event) -> bool:
        now, key = self._clock(), (uid, event)
        last = self._written.get(key)
        if last is not None and now - last < _REPEAT_SECONDS:
            return True
        self._written[key] = now
        self._written.move_to_end(key)
        while len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)
        return False

    def _manifest(self, endpoint: ServingEndpoint, event: Event) -> Manifest:
        meta = endpoint.metadata
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{meta.name}.{random.randrange(16**16):016x}", "namespace": meta.namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": event.type,
            "reason": event.reason,
            "action": "Reconcile",
            "note": _cut(event.message),
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            },
            "reportingController": _CONTROLLER,
            "reportingInstance": self._identity[:128],
        }


def _cut(text: str) -> str:
    return text.encode()[:_LONGEST_NOTE].decode(errors="ignore")
