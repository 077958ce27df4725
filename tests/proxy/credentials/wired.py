"""A credential store that fetches over a real pool, under the rules of `hosts.py`, as in a proxy."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from model_serving.proxy.credentials.fetch import TokenFetcher
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.credentials.scheme import Scheme, Source
from model_serving.proxy.credentials.store import CredentialStore
from model_serving.proxy.hosts import Leave, refusal
from model_serving.proxy.http.pool import Origin, Pool
from model_serving.proxy_config import Layout
from tests.proxy.harness import until, write


class Wired:
    """One source of one scheme over the files below `root`."""

    def __init__(
        self, root: Path, scheme: Scheme, platform: Platform | None = None, leave: Leave = Leave.LOCAL
    ) -> None:
        self.root = root
        loop = asyncio.get_running_loop()
        self.pool = Pool(loop, _rule)
        self.store = CredentialStore(Layout(root))
        self.store.exchange = TokenFetcher(loop, self.pool, lambda: leave)
        self.store.platform = platform or Platform()
        self.store.track([scheme])

    @property
    def source(self) -> Source:
        """The source."""
        return next(iter(self.store._sources.values()))

    @property
    def problem(self) -> str:
        """What is wrong with its token."""
        return self.source.tokens()[0].problem

    async def look(self, jump: float = 0.0) -> None:
        """Looks at the clocks, and waits until what is fetched has come or failed."""
        self.store.refresh(asyncio.get_running_loop().time() + jump, time.time() + jump)
        await until(lambda: not self.source.pending)

    def secret(self, content: str) -> None:
        """Writes the one secret."""
        write(self.root / "secrets/cloud/key", content)


def _rule(origin: Origin, address: str) -> str:
    return refusal(address, Leave(origin.realm))
