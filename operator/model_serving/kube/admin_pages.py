"""Pages of proxies' admin ports, over plain HTTP inside the cluster.

Used by `controller/`, which asks how proxies stand, and by the workspace, which shows their metrics.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

import aiohttp

log = logging.getLogger(__name__)

Address = tuple[str, int]
"""Host and admin port."""


class AdminPages:
    """Reads pages, a bounded number at a time, each in at most `seconds`. Use inside `async with`."""

    def __init__(self, *, seconds: float, at_once: int = 20) -> None:
        self._seconds = seconds
        self._at_once = at_once
        self._slots = asyncio.Semaphore(at_once)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        # No connection is kept: pods come and go, and a call a minute needs none.
        connector = aiohttp.TCPConnector(limit=self._at_once, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, address: Address, path: str, *, most_bytes: int) -> bytes | None:
        """The body; None for no answer, another status than 200, or a page that is too long."""
        if self._session is None:
            raise RuntimeError("the reader is not open: use it inside `async with`")
        host, port = address
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
        try:
            async with self._slots, self._session.get(url, allow_redirects=False) as response:
                body = bytearray()
                async for part in response.content.iter_any():
                    body += part
                    if len(body) > most_bytes:
                        return None
                return bytes(body) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("reading %s: %s", url, type(error).__name__)
            return None
