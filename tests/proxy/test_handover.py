"""Router and proxies as real processes: everything through one door, and a change of proxies that nobody notices."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes.upstream import FakeUpstream, Received, events_of, stream
from tests.proxy.harness import MESSAGES, Files
from tests.proxy.processes import PROXY, ROUTER, Child, start

TOKEN = "dapi-1"
GRANTS = [{"kind": "user", "name": "ada", "level": "CAN_QUERY"}]
USERS = {hashlib.sha256(TOKEN.encode()).hexdigest(): {"principal": "ada", "groups": [], "admin": True}}


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


def table(*children: Child) -> dict[str, Any]:
    return {"table": {"ep": {"addresses": [f"127.0.0.1:{child.port}" for child in children], "grants": GRANTS}}}


@pytest.fixture
def launch(files: Files, upstream: FakeUpstream, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts processes and ends them all."""
    files.usual(upstream.base)
    with ExitStack() as stack:

        def one(program: str, **environment: str) -> Child:
            child = stack.enter_context(start(program, tmp_path / "log", ROOT=str(files.root), **environment))
            child.tell({"router_key": "k"})
            return child

        yield one


def client_of(router: Child) -> openai.AsyncOpenAI:
    base = f"http://127.0.0.1:{router.port}/serving-endpoints"
    return openai.AsyncOpenAI(base_url=base, api_key=TOKEN, max_retries=0, timeout=30)


async def test_the_official_client_on_one_base_url(launch: Callable[..., Child]) -> None:
    router, proxy = launch(ROUTER), launch(PROXY)
    router.tell({"users": USERS} | table(proxy))
    await in_thread(router.wait_ready)
    await in_thread(proxy.wait_ready)
    async with client_of(router) as client:
        answer = await client.chat.completions.create(model="ep", messages=MESSAGES)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == "The model is serving."
        chunks = await client.chat.completions.create(model="ep", messages=MESSAGES, stream=True)  # type: ignore[arg-type]
        assert "".join([c.choices[0].delta.content or "" async for c in chunks]) == "The model is serving."
        assert [model.id async for model in client.models.list()] == ["ep"]


async def test_no_call_fails_and_no_stream_is_cut_while_proxies_are_exchanged(
    launch: Callable[..., Child], upstream: FakeUpstream
) -> None:
    async def slowly(request: Received, writer: asyncio.StreamWriter) -> None:
        await stream(events_of(request), pause=0.4)(request, writer)

    router, old = launch(ROUTER), launch(PROXY)
    router.tell({"users": USERS} | table(old))
    await in_thread(old.wait_ready)
    await in_thread(router.wait_ready)
    stop = asyncio.Event()
    calls = 0

    async def steadily(client: openai.AsyncOpenAI) -> None:
        nonlocal calls
        while not stop.is_set():
            await client.chat.completions.create(model="ep", messages=MESSAGES)  # type: ignore[arg-type]
            calls += 1
            await asyncio.sleep(0.005)

    async def long_stream(client: openai.AsyncOpenAI) -> str:
        upstream.scripts.append(slowly)
        chunks = await client.chat.completions.create(model="ep", messages=MESSAGES, stream=True)  # type: ignore[arg-type]
        return "".join([c.choices[0].delta.content or "" async for c in chunks])

    async with client_of(router) as client:
        streams = [asyncio.create_task(long_stream(client)) for _ in range(3)]
        await asyncio.sleep(0.3)
        workers = [asyncio.create_task(steadily(client)) for _ in range(4)]
        for _ in range(2):
            new = await in_thread(launch, PROXY)
            await in_thread(new.wait_ready)
            router.tell(table(new))
            old.terminate()
            assert await in_thread(old.wait) == 0
            old = new
        stop.set()
        await asyncio.gather(*workers)
        assert [await streaming for streaming in streams] == ["The model is serving."] * 3
    assert calls > 20


async def test_a_proxy_that_is_killed_loses_only_its_own_calls(launch: Callable[..., Child]) -> None:
    router, first, second = launch(ROUTER), launch(PROXY), launch(PROXY)
    router.tell({"users": USERS} | table(first, second))
    for child in (router, first, second):
        await in_thread(child.wait_ready)
    async with client_of(router) as client:
        await client.chat.completions.create(model="ep", messages=MESSAGES)  # type: ignore[arg-type]
        first.terminate(signal.SIGKILL)
        await in_thread(first.wait)
        await asyncio.sleep(0.1)
        for _ in range(10):
            await client.chat.completions.create(model="ep", messages=MESSAGES)  # type: ignore[arg-type]


async def test_all_end_when_their_parent_dies(launch: Callable[..., Child]) -> None:
    children = [launch(ROUTER), launch(PROXY)]
    for child in children:
        child.hang_up()
    assert [await in_thread(child.wait) for child in children] == [0, 0]
