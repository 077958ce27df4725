"""Limiters that count together in a real Valkey or Redis, in one process. The window is short: it is a constant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from model_serving.proxy.auth import Principal
from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy.limits import Asking, Limiter, Reservation, Rules
from model_serving.proxy.limits_store import LimitsKeeper
from model_serving.proxy_config import Limit, LimitsStore
from tests.fakes.valkey import Server

pytestmark = pytest.mark.slow

SPAN, PROXIES = 3, 4


class Proxy:
    """A limiter with its link."""

    def __init__(self, url: str, rules: Rules, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.limiter = Limiter(SPAN)
        self.keeper = LimitsKeeper(self.limiter, folder, loop.time)
        self.rules = rules
        self.keeper.follow(LimitsStore(url, "ep"), rules)

    async def call(self, name: str = "ada") -> Reservation | None:
        """Asks like the pipeline does: patiently. None: refused."""
        answer: asyncio.Future[Reservation | None] = asyncio.get_running_loop().create_future()

        def ask() -> None:
            if answer.done():
                return
            try:
                found = self.limiter.reserve(self.rules, Asking(Principal(name), b"", {}), self.now(), ask)
            except LimitExceeded:
                answer.set_result(None)
            else:
                if found is not None:
                    answer.set_result(found)

        ask()
        return await asyncio.wait_for(answer, 10)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def proxies(url: str, limits: list[Limit], folder: Path, number: int = PROXIES) -> AsyncIterator[list[Proxy]]:
    """Proxies that count together already: an empty store grants nothing for a window."""
    rules = Rules(limits, PROXIES)
    found = [Proxy(url, rules, folder) for _ in range(number)]
    try:
        await until(lambda: not any(proxy.keeper.problem for proxy in found))
        yield found
    finally:
        for proxy in found:
            proxy.keeper.close()
        await asyncio.sleep(0.05)


async def test_n_is_admitted_over_all_proxies_and_no_more_and_again_after_the_window(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        async with proxies(server.url, [Limit("endpoint", 40)], tmp_path) as found:
            answers = await asyncio.gather(*(proxy.call() for proxy in found for _ in range(20)))
            assert sum(answer is not None for answer in answers) == 40
            await asyncio.sleep(SPAN + 2.1)
            answers = await asyncio.gather(*(proxy.call() for proxy in found for _ in range(20)))
            assert sum(answer is not None for answer in answers) == 40


async def test_tokens_are_settled_in_the_store(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        async with proxies(server.url, [Limit("endpoint", tokens=1100)], tmp_path) as (first, second, *_):
            one, two = await first.call(), await first.call()
            assert one is not None and two is not None
            assert await second.call() is None, "estimates fill the limit"
            one.settle(5, first.now())
            await asyncio.sleep(0.6)
            assert await second.call() is not None
            two.settle(None, first.now(), sent=False)
            await asyncio.sleep(0.6)
            assert await second.call() is not None


async def test_a_lost_store_leaves_shares_within_a_second_and_an_emptied_one_is_not_trusted(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        async with proxies(server.url, [Limit("endpoint", 40), Limit("user", 1000)], tmp_path) as found:
            assert sum([await found[0].call() is not None for _ in range(40)]) == 40
            await asyncio.sleep(1.2)  # who is idle asks once a second
            server.kill()
            await until(lambda: all("cannot be used" in proxy.keeper.problem for proxy in found), 5)
            assert [await proxy.call() for proxy in found] == [None] * PROXIES, "n was granted in this window"
            await asyncio.sleep(SPAN + 1.1)
            answers = await asyncio.gather(*(proxy.call() for proxy in found for _ in range(20)))
            assert sum(answer is not None for answer in answers) == 40
            server.start()
            await until(lambda: all("empty" in proxy.keeper.problem for proxy in found))
            assert await found[0].call() is None
            await until(lambda: not any(proxy.keeper.problem for proxy in found))
            assert [proxy.keeper.losses for proxy in found] == [1] * PROXIES
            assert "model_serving_limits_store_up 1" in found[0].keeper.render()


async def test_endpoints_do_not_share_counters_and_users_have_their_own(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        async with proxies(server.url, [Limit("user", 2)], tmp_path, 2) as (first, second):
            other = Proxy(server.url, first.rules, tmp_path)
            other.keeper.follow(LimitsStore(server.url, "other"), first.rules)
            assert [await proxy.call("ada") is not None for proxy in (first, second, first)] == [True, True, False]
            assert await second.call("bob") is not None
            await until(lambda: not other.keeper.problem)
            assert await other.call("ada") is not None
            other.keeper.close()


@pytest.mark.parametrize(
    ("password", "words"),
    [
        pytest.param("secret-word", "", id="the right one"),
        pytest.param("wrong-word", "cannot be used", id="a wrong one"),
        pytest.param(None, "cannot be used", id="none"),
    ],
)
async def test_the_password_comes_from_its_file_and_is_told_to_nobody(
    tmp_path: Path, password: str | None, words: str
) -> None:
    folder = tmp_path / "limits-store"
    folder.mkdir()
    if password is not None:
        (folder / "password").write_text(password + "\n")
    with Server(tmp_path, "--requirepass", "secret-word") as server:
        proxy = Proxy(server.url, Rules([Limit("endpoint", 4)], 2), folder)
        wanted = words or "empty"
        await until(lambda: wanted in proxy.keeper.problem or (not words and not proxy.keeper.problem))
        assert "-word" not in proxy.keeper.problem
        if words:
            assert [await proxy.call() is not None for _ in range(3)] == [True, True, False], "shares"
        proxy.keeper.close()


async def test_without_any_server_shares_are_granted_at_once(tmp_path: Path) -> None:
    proxy = Proxy("valkey://127.0.0.1:1/0", Rules([Limit("endpoint", 8)], PROXIES), tmp_path)
    async with asyncio.timeout(5):
        assert [await proxy.call() is not None for _ in range(3)] == [True, True, False]
    assert "cannot be used" in proxy.keeper.problem
    proxy.keeper.follow(None, proxy.rules)
    assert proxy.limiter.ledger is None and not proxy.keeper.problem
    await asyncio.sleep(0.05)
