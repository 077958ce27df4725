"""What tests of the REST API share: a workspace, its client, and an endpoint in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.article import CREATE
from tests.management.memory import World
from tests.management.rest import API, connect, good, workspace


@pytest.fixture
def shop() -> World:
    """A world with the article's secret, in which new versions serve once somebody looks."""
    return workspace()


@pytest.fixture
async def rest(shop: World) -> AsyncIterator[httpx.AsyncClient]:
    """The REST API of `shop` for alice."""
    async with connect(shop) as client:
        yield client


@pytest.fixture
async def endpoint(rest: httpx.AsyncClient) -> str:
    """The article's endpoint, serving; its path."""
    return f"{API}/{good(await rest.post(API, json=CREATE))['name']}"
