"""A list and watch that survives everything: lost connections, expired versions, deletions during a gap.

One `Watch` per kind and namespace. The controller uses it for child objects as metadata only, the router for
EndpointSlices. It tells what changed and keeps nothing but the names and UIDs that it needs to notice what is gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from model_serving.kube.client import Client, Selection
from model_serving.kube.errors import Expired, KubeError, TooManyRequests
from model_serving.kube.resources import Manifest, Resource

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
_GOOD_STREAM = 5.0

Identity = tuple[str, str]
"""Namespace and name."""


class Listener(Protocol):
    """Who is told. Both are plain functions that neither block nor raise."""

    def changed(self, resource: Resource, manifest: Manifest) -> None:
        """The object was added or modified, or was met again in a list."""

    def deleted(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """The object is gone."""


class Watch:
    """Watches one selection until cancelled. `synced` is set when the first list has been told; `restarts` counts the
    streams after the first. `longest_pause`: seconds between two attempts, about, however long the server is away."""

    def __init__(
        self,
        client: Client,
        selection: Selection,
        listener: Listener,
        *,
        longest_pause: float = LONGEST_PAUSE,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.selection = selection
        self.synced = asyncio.Event()
        self.restarts = 0
        self._client = client
        self._listener = listener
        self._longest_pause = longest_pause
        self._rand = rand
        self._clock = time.monotonic
        self._known: dict[Identity, str] = {}
        self._version = ""

    async def run(self) -> None:
        """Never returns."""
        failures = 0
        while True:
            began = self._clock()
            try:
                if not self._version:
                    await self._list()
                await self._follow()
                error = None
            except Expired:
                log.info("watching %s: the version has expired, listing again", self.selection)
                self._version, error = "", None
            except KubeError as failure:
                error = failure
            # A stream that lived for a while was a good one, however it ended.
            lived = self._clock() - began > _GOOD_STREAM
            failures = (0 if lived else failures) + (0 if lived and error is None else 1)
            if failures:
                await self._pause(error, failures)
            self.restarts += 1

    async def _pause(self, error: KubeError | None, failures: int) -> None:
        seconds = min(self._longest_pause, _FIRST_PAUSE * 2.0 ** (failures - 1)) * (0.5 + self._rand())
        if isinstance(error, TooManyRequests):
            seconds = max(seconds, error.retry_after)
        level = logging.WARNING if failures > 2 else logging.INFO
        words = error or f"watching {self.selection}: it ended at once"
        log.log(level, "%s; again in %.1f s", words, seconds)
        await asyncio.sleep(seconds)

    async def _list(self) -> None:
        chosen = self.selection
        listing = await self._client.list(chosen)
        gone = dict(self._known)
        for manifest in listing.items:
            identity = _identity(manifest)
            if gone.get(identity) == manifest["metadata"].get("uid"):
                del gone[identity]
        for identity, uid in gone.items():
            self._known.pop(identity, None)
            self._listener.deleted(chosen.resource, *identity, uid)
        for manifest in listing.items:
            self._tell_changed(manifest)
        self._version = listing.resource_version
        self.synced.set()

    async def _follow(self) -> None:
        resource, seconds = self.selection.resource, 300 + int(300 * self._rand())
        async for event in self._client.watch(self.selection, since=self._version, seconds=seconds):
            if event.type == "DELETED":
                identity = _identity(event.object)
                self._known.pop(identity, None)
                self._listener.deleted(resource, *identity, event.object["metadata"].get("uid", ""))
            elif event.type in ("ADDED", "MODIFIED"):
                self._tell_changed(event.object)
            self._version = event.object["metadata"].get("resourceVersion", self._version)

    def _tell_changed(self, manifest: Manifest) -> None:
        self._known[_identity(manifest)] = manifest["metadata"].get("uid", "")
        self._listener.changed(self.selection.resource, manifest)


def _identity(manifest: Manifest) -> Identity:
    meta = manifest["metadata"]
    return meta.get("namespace", ""), meta["name"]
