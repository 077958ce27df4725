"""The slow full pass: drops what vanished unnoticed, and has every endpoint compared with the cluster once in a while.

A watch that was cut may have missed a deletion, and nobody sees what is edited while no operator runs. Started by
`operator.py`, asked by the reconciler.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import replace

from model_serving.controller.cache import Cache, Key
from model_serving.controller.queue import Queue
from model_serving.kube.client import Client, Selection
from model_serving.kube.errors import KubeError

log = logging.getLogger(__name__)


class Sweeper:
    """Goes over everything once in `seconds`, spread out so that it is never felt."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        queue: Queue[Key],
        selections: Iterable[Selection],
        *,
        seconds: float,
    ) -> None:
        self._client = client
        self._cache = cache
        self._queue = queue
        self._selections = [replace(selection, metadata_only=True) for selection in selections]
        self._seconds = seconds
        self._due: set[Key] = set()

    def take_due(self, key: Key) -> bool:
        """Whether the endpoint's children should be compared with the cluster now; asking takes the duty over."""
        due = key in self._due
        self._due.discard(key)
        return due

    async def run(self) -> None:
        """Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            for key, _ in self._cache.endpoints():
                loop.call_later(self._seconds * random.random(), self._ask_for, key)
            await asyncio.sleep(self._seconds)
            await self.sweep()

    async def sweep(self) -> None:
        """Compares the cache with metadata lists of everything."""
        for selection in self._selections:
            try:
                listing = await self._client.list(selection)
            except KubeError as error:
                log.warning("sweeping %s: %s", selection, error)
                continue
            version, namespace = listing.resource_version, selection.namespace
            for key in self._cache.sweep(selection.resource, listing.items, version, namespace):
                log.info("sweeping %s: dropped what is gone of %s", selection, "/".join(key))
                self._queue.add(key)

    def _ask_for(self, key: Key) -> None:
        if self._cache.endpoint(key) is not None:
            self._due.add(key)
            self._queue.add(key)
