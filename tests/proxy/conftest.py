"""Fixtures of the data plane: files, a fake provider, a proxy in front of it, on the loop used in production."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from tests.fakes.upstream import FakeUpstream
from tests.proxy.harness import Files, Running, proxy


@pytest.fixture(scope="session")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    return uvloop.EventLoopPolicy()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as fake:
        yield fake


@pytest.fixture
async def running(files: Files, upstream: FakeUpstream) -> AsyncIterator[Running]:
    files.usual(upstream.base)
    async with proxy(files) as running:
        yield running
