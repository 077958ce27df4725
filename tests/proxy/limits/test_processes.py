"""Four real proxies under load: together within n, whatever becomes of the store and of the proxies.

The window is 4 s here; in production it is 60. What counts is the middle of each call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from model_serving.proxy_config import Limit, LimitsStore
from tests.fakes.upstream import FakeUpstream
from tests.fakes.valkey import Server
from tests.proxy.harness import Files, chat
from tests.proxy.processes import PROXY, Child, start

pytestmark = pytest.mark.slow

N, SPAN, PROXIES = 60, 4, 4
ROUNDING = 1.5
"""Seconds that a call may count longer than the window: its step, and its lease."""
PROGRAM = f"from model_serving.proxy.limits import Limiter; Limiter.__init__.__defaults__ = ({SPAN},); {PROXY}"


class Load:
    """Calls all proxies all the time; what is refused is tried again soon."""

    def __init__(self, children: list[Child]) -> None:
        self.children = children
        self.admitted: list[float] = []
        self.statuses: set[int] = set()
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._call(index, lane)) for index in range(PROXIES) for lane in range(2)]

    async def _call(self, index: int, lane: int) -> None:
        while not self._stopped:
            await asyncio.sleep(0.05 + 0.01 * lane)
            before = self._loop.time()
            try:
                answer = await chat(self.children[index].port)
            except (OSError, asyncio.IncompleteReadError):
                continue  # a proxy is being replaced
            self.statuses.add(answer.status)
            if answer.status == 200:
                self.admitted.append((before + self._loop.time()) / 2)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    def most(self) -> int:
        """The most that were admitted in any window."""
        times = sorted(self.admitted)
        return max(sum(first <= when < first + SPAN for when in times) for first in times)


@contextmanager
def four(tmp_path: Path, base: str, store: str) -> Iterator[Callable[[int], Child]]:
    """Starts proxy number so and so, with a limit of N."""
    with ExitStack() as stack:

        def begin(number: int) -> Child:
            files = Files(tmp_path / f"proxy{number}")
            files.usual(base)
            limits_store = LimitsStore(store, "ep") if store else None
            files.policy(limits=[Limit("endpoint", N)], limits_parts=PROXIES, limits_store=limits_store)
            child = stack.enter_context(start(PROGRAM, tmp_path / f"log{number}", ROOT=str(files.root)))
            child.wait_ready()
            return child

        yield begin


async def in_thread(work: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


async def problems(children: list[Child]) -> list[str]:
    def read() -> list[str]:
        return [json.loads(child.admin_page("/status")[1]).get("limits_problem", "") for child in children]

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


async def test_with_a_store_n_is_never_exceeded_and_nearly_all_of_it_can_be_used(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        with Server(tmp_path) as server, four(tmp_path, upstream.base, server.url) as begin:
            children = [begin(number) for number in range(PROXIES)]

            async def together() -> bool:
                return not any(await problems(children))

            await until(together)
            load, loop = Load(children), asyncio.get_running_loop()
            started = loop.time()
            await asyncio.sleep(2 * (SPAN + ROUNDING) + 0.5)
            seconds = loop.time() - started
            assert load.most() <= N
            assert len(load.admitted) >= 0.95 * N * int(seconds / (SPAN + ROUNDING))
            server.kill()

            async def apart() -> bool:
                return all("cannot be used" in problem for problem in await problems(children))

            await until(apart)
            await asyncio.sleep(SPAN)
            server.start()
            await until(together)
            await asyncio.sleep(SPAN)
            await load.stop()
            assert load.most() <= N, "the store was lost, came back empty and was used again"
            assert load.statuses == {200, 429}


async def test_without_a_store_each_proxy_grants_its_share_and_a_replaced_one_its_share_again(tmp_path: Path) -> None:
    async with FakeUpstream() as upstream:
        with four(tmp_path, upstream.base, "") as begin:
            children = [begin(number) for number in range(PROXIES)]
            load = Load(children)
            await asyncio.sleep(SPAN)
            assert load.most() <= N
            assert len(load.admitted) >= N
            replaced = 2
            for number in range(replaced):
                children[number].terminate()
                await in_thread(children[number].wait)
                children[number] = begin(number)
            await asyncio.sleep(SPAN + 1)
            await load.stop()
            assert load.most() <= N + replaced * (N // PROXIES)
            assert load.statuses <= {200, 429, 503}
