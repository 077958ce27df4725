"""One operator at a time: a Lease that is acquired, renewed and, on a clean exit, given back at once.

Used by `operator.py`. Clocks of different machines are never compared: a foreign Lease has run out when it was not
renewed for its whole duration by our own clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from model_serving.kube.client import Client
from model_serving.kube.errors import Conflict, KubeError, NotFound
from model_serving.kube.resources import LEASES, Manifest

log = logging.getLogger(__name__)

LEASE_NAME = "model-serving-operator"


class Lease:
    """The right to act. `seconds`: how long it holds without renewal."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        identity: str,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        # A pod that is restarted in place must not take its former self for itself.
        self._identity = f"{identity}_{random.randrange(16**8):08x}"  # not a secret
        self._seconds = seconds
        self._clock = clock
        self._manifest: Manifest | None = None
        self._seen = ("", 0.0)
        self._renewed = 0.0

    @property
    def held(self) -> bool:
        """Whether we may act."""
        return self._manifest is not None and self._clock() - self._renewed < self._seconds

    async def acquire(self) -> None:
        """Waits until the Lease is ours."""
        said = False
        while True:
            try:
                if await self._try_acquire():
                    log.info("holding the Lease %s as %s", LEASE_NAME, self._identity)
                    return
                if not said:
                    log.info("standing by: another operator holds the Lease %s", LEASE_NAME)
                    said = True
            except Conflict:
                pass
            except KubeError as error:
                log.warning("acquiring the Lease: %s", error)
            await asyncio.sleep(self._pause)

    async def hold(self) -> None:
        """Renews the Lease; returns when it is lost."""
        while True:
            await asyncio.sleep(self._pause)
            # A third of the time is left to stop before somebody else may start.
            left = self._renewed + self._seconds * 2 / 3 - self._clock()
            try:
                async with asyncio.timeout(max(left, 0.1)):
                    kept = await self._renew()
            except (KubeError, TimeoutError) as error:
                kept = self._clock() - self._renewed < self._seconds * 2 / 3
                log.warning(
                    "renewing the Lease: %s%s", str(error) or "no answer in time", "" if kept else "; giving up"
                )
            if not kept:
                self._manifest = None
                log.error("lost the Lease %s", LEASE_NAME)
                return

    async def release(self) -> None:
        """Gives the Lease back, so that another one need not wait for its end."""
        manifest, self._manifest = self._manifest, None
        if manifest is None:
            return
        try:
            async with asyncio.timeout(5):
                await self._client.replace(self._with_holder(manifest, ""))
            log.info("released the Lease %s", LEASE_NAME)
        except (KubeError, TimeoutError) as error:
            log.warning("releasing the Lease: %s", str(error) or "no answer in time")

    @property
    def _pause(self) -> float:
        return self._seconds / 5 * random.uniform(0.9, 1.1)

    async def _try_acquire(self) -> bool:
        began = self._clock()
        try:
            found = await self._client.get(LEASES, self._namespace, LEASE_NAME)
        except NotFound:
            metadata = {"name": LEASE_NAME, "namespace": self._namespace}
            fresh = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": {}}
            return self._take(await self._client.create(self._with_holder(fresh, self._identity)), began)
        if not self._is_free(found):
            return False
        return self._take(await self._client.replace(self._with_holder(found, self._identity)), began)

    def _take(self, manifest: Manifest, began: float) -> bool:
        self._manifest, self._renewed = manifest, began
        return True

    def _is_free(self, found: Manifest) -> bool:
        spec = found.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True
        version = found["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = version, self._clock()
        return self._clock() - self._seen[1] >= float(spec.get("leaseDurationSeconds") or self._seconds)

    async def _renew(self) -> bool:
        if self._manifest is None:
            return False
        began = self._clock()
        try:
            answer = await self._client.replace(self._with_holder(self._manifest, self._identity))
        except Conflict:
            # Our own renewal whose answer was lost, or somebody else.
            answer = await self._client.get(LEASES, self._namespace, LEASE_NAME)
            if (answer.get("spec") or {}).get("holderIdentity") != self._identity:
                return False
        except NotFound:
            return False
        return self._take(answer, began)

    def _with_holder(self, manifest: Manifest, holder: str) -> Manifest:
        spec = dict(manifest.get("spec") or {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if holder and spec.get("holderIdentity") != holder:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {"holderIdentity": holder, "renewTime": now}
        spec["leaseDurationSeconds"] = max(1, round(self._seconds)) if holder else 1
        return {**manifest, "spec": spec}
