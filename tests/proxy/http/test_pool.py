"""Connections to upstreams: a name with several addresses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from model_serving.proxy.http import pool
from model_serving.proxy.http.pool import Origin, Pool


class Names:
    """A loop for which each name has three addresses."""

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        return [(0, 0, 0, "", (f"192.0.2.{number}", port)) for number in (1, 2, 3)]


class Dialled(Pool):
    """A pool whose addresses are silent but for one; nothing is sent anywhere."""

    def __init__(self, good: str) -> None:
        super().__init__(Names(), lambda origin, address: "")  # type: ignore[arg-type]
        self._good = good
        self.tried: list[str] = []

    async def _open(self, origin: Origin, address: str) -> Any:
        self.tried.append(address)
        if address != self._good:
            await asyncio.Event().wait()
        return f"connected to {address}"


@pytest.mark.parametrize("good", ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
async def test_a_silent_address_leaves_time_for_the_others(monkeypatch: pytest.MonkeyPatch, good: str) -> None:
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 1.5)
    dialled = Dialled(good)
    async with asyncio.timeout(15):
        connection: Any = await dialled._connect(Origin(True, "name", 443))
    assert connection == f"connected to {good}"
    assert dialled.tried[-1] == good
    assert len(dialled.tried) == int(good[-1])
