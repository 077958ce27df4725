"""The server at a real socket: it starts, answers, finishes what is under way, and leaves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from model_serving.management.server import serve_management
from tests.article import CREATE
from tests.management.memory import ALICE, World
from tests.management.rest import API, NAME, good, refused, workspace


@asynccontextmanager
async def served(world: World) -> AsyncIterator[str]:
    """The address of a server for `world`."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
        async with serve_management(world.platform(), door):
            yield address


async def test_it_answers_from_start_to_end_of_its_context() -> None:
    async with served(workspace()) as address, httpx.AsyncClient(base_url=address) as client:
        assert (await client.get("/healthz")).text == "ok\n"
        refused(await client.get(API), 401)
        client.headers["Authorization"] = f"Bearer {ALICE.token}"
        made = good(await client.post(API + "/", json=CREATE))
        assert made["state"]["ready"] == "READY"
        assert (await client.head(f"{API}/{NAME}")).content == b""
        answer = await client.delete(f"{API}/{NAME}")
        assert good(answer) == {} and "server" not in answer.headers
    with pytest.raises(httpx.TransportError):
        async with httpx.AsyncClient() as late:
            await late.get(address + "/healthz", timeout=5)


async def test_a_call_under_way_is_finished() -> None:
    world = workspace()
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(verb: str, name: str) -> None:
        entered.set()
        await go_on.wait()

    world.before_write = slowly
    headers = {"Authorization": f"Bearer {ALICE.token}"}
    async with httpx.AsyncClient(headers=headers, timeout=20) as client:
        async with served(world) as address:
            call = asyncio.create_task(client.post(address + API, json=CREATE))
            await asyncio.wait_for(entered.wait(), 20)
            asyncio.get_running_loop().call_later(0.2, go_on.set)
        good(await call)
