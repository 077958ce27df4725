"""Asks proxies how they stand: `GET /status` on their admin port. Used by `evidence.py`.

For detail only: a proxy that cannot be asked is not therefore unready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import msgspec

from model_serving.kube.admin_pages import Address, AdminPages
from model_serving.proxy_config import ProxyStatus

_SECONDS = 2.0
_MOST_BYTES = 256 * 1024


class ProxyReader:
    """Reads the status of proxies, a bounded number at a time."""

    def __init__(self) -> None:
        self._pages = AdminPages(seconds=_SECONDS)

    async def __aenter__(self) -> Self:
        await self._pages.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pages.__aexit__(kind, error, trace)

    async def read(self, addresses: Iterable[Address]) -> list[ProxyStatus]:
        """What the proxies at `addresses` answered; those that did not are missing."""
        answers = await asyncio.gather(*(self._read_one(address) for address in addresses))
        return [answer for answer in answers if answer is not None]

    async def _read_one(self, address: Address) -> ProxyStatus | None:
        page = await self._pages.read(address, "/status", most_bytes=_MOST_BYTES)
        try:
            return None if page is None else msgspec.json.decode(page, type=ProxyStatus)
        except msgspec.MsgspecError:
            return None
