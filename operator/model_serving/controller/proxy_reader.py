"""Asks proxies how they stand: `GET /status` on their admin port. Used by `evidence.py`.

For detail only: a proxy that cannot be asked is not therefore unready.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from model_serving.proxy_config import ProxyStatus

log = logging.getLogger(__name__)

_SECONDS = 2.0
_MOST_BYTES = 256 * 1024
_AT_ONCE = 20

Address = tuple[str, int]
"""Host and admin port."""


class ProxyReader:
    """Reads the status of proxies, a bounded number at a time."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        # No connection is kept: pods come and go, and a call a minute needs none.
        connector = aiohttp.TCPConnector(limit=_AT_ONCE, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, addresses: Iterable[Address]) -> list[ProxyStatus]:
        """What the proxies at `addresses` answered; those that did not are missing."""
        answers = await asyncio.gather(*(self._read_one(address) for address in addresses))
        return [answer for answer in answers if answer is not None]

    async def _read_one(self, address: Address) -> ProxyStatus | None:
        if self._session is None:
            raise RuntimeError("the reader is not open: use it inside `async with`")
        host, port = address
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/status"
        try:
            async with self._slots, self._session.get(url, allow_redirects=False) as response:
                body = bytearray()
                async for part in response.content.iter_any():
                    body += part
                    if len(body) > _MOST_BYTES:
                        return None
                return msgspec.json.decode(body, type=ProxyStatus) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
            log.debug("reading the status of the proxy at %s: %s", url, type(error).__name__)
            return None
