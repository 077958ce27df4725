"""The work queue, with a clock in the test's hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from model_serving.controller.queue import Backoff, Queue
from model_serving.kube.errors import TooManyRequests, Unavailable


class Call:
    """A call that waits for its time."""

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, Call]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Call:
        call = Call(callback, args)
        heapq.heappush(self._calls, (self.now + delay, next(self._order), call))
        return call

    async def move(self, seconds: float) -> None:
        """Lets time pass, step by step."""
        end = self.now + seconds
        await settle()
        while self._calls and self._calls[0][0] <= end:
            self.now, _, call = heapq.heappop(self._calls)
            if call.callback is not None:
                call.callback(*call.args)
            await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Bench:
    """A queue at work; `works[key]` is what the work on a key does, and `done` what was done when."""

    def __init__(self, workers: int = 2) -> None:
        self.clock = Clock()
        self.queue: Queue[str] = Queue(clock=self.clock, rand=lambda: 0.0, backoff=Backoff(base=1.0, cap=300.0))
        self.done: list[tuple[str, float]] = []
        self.results: dict[str, list[float | Exception | None]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self._task = asyncio.create_task(self.queue.run(self._work, workers))

    async def _work(self, key: str) -> float | None:
        self.done.append((key, self.clock.now - 1000.0))
        if key in self.gates:
            await self.gates[key].wait()
        results = self.results.get(key) or [None]
        result = results.pop(0) if len(results) > 1 else results[0]
        if isinstance(result, Exception):
            raise result
        return result

    def times(self, key: str) -> list[float]:
        return [when for name, when in self.done if name == key]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def bench() -> Any:
    it = Bench()
    yield it
    await it.close()


async def test_a_key_added_often_before_its_turn_is_worked_on_once(bench: Bench) -> None:
    for _ in range(5):
        bench.queue.add("a")
    await settle()
    assert bench.times("a") == [0]


async def test_a_key_added_during_its_work_is_worked_on_once_more_afterwards(bench: Bench) -> None:
    bench.gates["a"] = asyncio.Event()
    bench.queue.add("a")
    await settle()
    bench.queue.add("a")
    bench.queue.add("a")
    await settle()
    assert len(bench.times("a")) == 1, "never two workers on one key"
    bench.gates["a"].set()
    await settle()
    assert len(bench.times("a")) == 2


async def test_a_slow_key_does_not_hold_up_others(bench: Bench) -> None:
    bench.gates["slow"] = asyncio.Event()
    for key in ("slow", "b", "c"):
        bench.queue.add(key)
    await settle()
    assert bench.times("b") == bench.times("c") == [0]


async def test_work_may_ask_to_be_called_again(bench: Bench) -> None:
    bench.results["a"] = [60.0, None]
    bench.queue.add("a")
    await bench.clock.move(59)
    assert len(bench.times("a")) == 1
    await bench.clock.move(2)
    assert bench.times("a") == [0, 60]


async def test_the_earliest_of_several_wishes_counts(bench: Bench) -> None:
    bench.queue.add_after("a", 30)
    bench.queue.add_after("a", 10)
    bench.queue.add_after("a", 20)
    await bench.clock.move(100)
    assert bench.times("a") == [10]


async def test_being_worked_on_makes_earlier_wishes_void(bench: Bench) -> None:
    bench.queue.add_after("a", 10)
    bench.queue.add("a")
    await bench.clock.move(100)
    assert bench.times("a") == [0]


async def test_failures_pause_longer_and_longer(bench: Bench) -> None:
    bench.results["a"] = [Unavailable("no")]
    bench.queue.add("a")
    await bench.clock.move(1 + 2 + 4 + 8)
    assert bench.times("a") == [0, 1, 3, 7, 15]
    assert bench.queue.failures("a") == 5


async def test_the_pause_never_exceeds_five_minutes(bench: Bench) -> None:
    bench.results["a"] = [Unavailable("no")]
    bench.queue.add("a")
    await bench.clock.move(4000)
    times = bench.times("a")
    assert max(b - a for a, b in itertools.pairwise(times)) == 300


async def test_success_forgets_the_failures(bench: Bench) -> None:
    bench.results["a"] = [Unavailable("no"), Unavailable("no"), None, Unavailable("no"), None]
    bench.queue.add("a")
    await bench.clock.move(3)
    assert bench.queue.failures("a") == 0
    bench.queue.add("a")
    await bench.clock.move(1.5)
    assert bench.times("a") == [0, 1, 3, 3, 4]


async def test_events_for_a_failing_key_are_answered_at_most_once_a_second(bench: Bench) -> None:
    bench.results["a"] = [Unavailable("no")]
    bench.queue.add("a")
    for _ in range(100):
        await bench.clock.move(0.1)
        bench.queue.add("a")
    times = bench.times("a")
    assert 5 <= len(times) <= 11
    assert all(b - a >= 1 - 1e-6 for a, b in itertools.pairwise(times))


async def test_an_event_shortens_a_long_pause(bench: Bench) -> None:
    bench.results["a"] = [*[Unavailable("no")] * 6, None]
    bench.queue.add("a")
    await bench.clock.move(32)
    bench.queue.add("a")
    await settle()
    assert bench.times("a")[-1] == 32


async def test_a_server_that_asks_for_patience_gets_it(bench: Bench) -> None:
    bench.results["a"] = [TooManyRequests("later", retry_after=20), None]
    bench.queue.add("a")
    await bench.clock.move(19)
    assert bench.times("a") == [0]
    await bench.clock.move(2)
    assert bench.times("a") == [0, 20]


async def test_a_forgotten_key_is_not_visited(bench: Bench) -> None:
    bench.queue.add_after("a", 10)
    bench.queue.forget("a")
    await bench.clock.move(100)
    assert bench.done == []


async def test_depth_and_age_tell_of_a_stuck_queue(bench: Bench) -> None:
    for key in ("x", "y"):
        bench.gates[key] = asyncio.Event()
        bench.queue.add(key)
    await settle()
    bench.queue.add("waiting")
    bench.queue.add("x")
    await bench.clock.move(42)
    assert bench.queue.depth == 2
    assert bench.queue.oldest_age == 42
    assert bench.queue.longest_work == 42
    bench.gates["x"].set()
    await settle()
    assert bench.queue.oldest_age == 0


async def test_work_that_never_ends_is_ended() -> None:
    queue: Queue[str] = Queue(work_seconds=0.05)
    tried = asyncio.Event()

    async def hang(key: str) -> None:
        if queue.failures(key):
            tried.set()
            return
        await asyncio.sleep(60)

    task = asyncio.create_task(queue.run(hang, 1))
    queue.add("a")
    await asyncio.wait_for(tried.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_jitter_only_lengthens_the_pause() -> None:
    backoff = Backoff(base=1, cap=300, jitter=0.25)
    assert backoff.pause(1, 0.0) == 1
    assert backoff.pause(1, 1.0) == 1.25
    assert backoff.pause(99, 0.0) == 300
