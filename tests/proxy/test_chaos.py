"""Hundreds of calls through a proxy to a provider that fails in every way it knows.

Each call ends in exactly one of these: the complete correct answer, or a documented error. Afterwards nothing is under
way, reserved, counted or connected.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from model_serving.demo_provider.faults import FAULTS
from model_serving.demo_provider.server import DemoSettings, build_app
from model_serving.proxy_config import Limit
from tests.proxy.harness import Answer, Files, Running, call, proxy, until

EP = "/serving-endpoints/ep/invocations"
CODES = {
    429: {"REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"},
    500: {"INTERNAL_ERROR"},
    503: {"TEMPORARILY_UNAVAILABLE"},
    504: {"DEADLINE_EXCEEDED"},
}
"""Errors that a caller may see for what goes wrong behind the proxy."""
CALLS, AT_ONCE = 400, 50


@pytest.fixture
async def faulty() -> AsyncIterator[str]:
    settings = DemoSettings(pace=0.0, error_rate=0.5, delay=0.01, seed=7)
    async with TestServer(build_app(settings)) as server:
        yield str(server.make_url("/v1"))


def judge(answer: Answer, words: str, stream: bool) -> str:
    """What became of a call: "good" or the code of a documented error. AssertionError for anything else."""
    if answer.status != 200:
        assert answer.json["error_code"] in CODES[answer.status], answer
        assert answer.json["message"]
        if answer.status in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1
        return str(answer.json["error_code"])
    if not stream:
        assert answer.json["choices"][0]["message"]["content"] == f"You said: {words}", answer
        return "good"
    events = [event.removeprefix(b"data: ") for event in answer.body.split(b"\n\n") if event]
    if events[-1] != b"[DONE]":
        last = json.loads(events[-1])
        assert last["error"]["code"] == last["error_code"]
        assert last["error_code"] in set().union(*CODES.values())
        assert b"[DONE]" not in answer.body
        return f"stream {last['error_code']}"
    said = "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert said == f"You said: {words}"
    return "good"


async def one(running: Running, random_: random.Random, outcomes: Counter[str], gate: asyncio.Semaphore) -> None:
    words = " ".join(str(random_.randrange(1000)) for _ in range(random_.randrange(1, 30)))
    stream = random_.random() < 0.5
    body: dict[str, Any] = {"messages": [{"role": "user", "content": words}], "stream": stream}
    async with gate:
        if random_.random() < 0.1:  # a client that leaves
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call(running.port, EP, body | {"padding": "[demo:stall=1,pace=1]"}), 0.0001)
            outcomes["left"] += 1
            return
        answer = await asyncio.wait_for(call(running.port, EP, body), 20)
    outcomes[judge(answer, words, stream)] += 1


async def at_rest(running: Running) -> None:
    service: Any = running.service
    await until(lambda: not service.pipeline.in_flight and not service.data.connections)
    assert service.data.memory.used == 0
    await until(lambda: service._pool.state()[1] == 0)
    status = (await call(running.admin_port, "/status")).json
    assert status.get("in_flight", 0) == 0


async def test_each_call_ends_in_one_documented_way_and_leaves_nothing_behind(files: Files, faulty: str) -> None:
    files.usual(faulty, limits=[Limit("endpoint", 100_000)], request_timeout_seconds=5.0)
    random_, outcomes, gate = random.Random(3), Counter[str](), asyncio.Semaphore(AT_ONCE)
    async with proxy(files, stream_idle_seconds=2.0, first_byte_seconds=2.0) as running:
        await asyncio.gather(*(one(running, random_, outcomes, gate) for _ in range(CALLS)))
        await at_rest(running)
    assert sum(outcomes.values()) == CALLS
    assert outcomes["good"] > CALLS * 0.3
    assert outcomes["TEMPORARILY_UNAVAILABLE"] > 10
    assert outcomes["stream TEMPORARILY_UNAVAILABLE"] > 5


WISHES = [
    *(",".join(name.replace("_", "-") if value is True else f"{name.replace('_', '-')}={value}"
               for name, value in fault.items()) for fault in FAULTS),
    "cut=0", "cut=2,reset", "cut-chunk,reset", "cut-mid-head,reset", "head=20000", "slow=0.0001", "stall=0.1",
]  # fmt: skip
HARMLESS = {"head=20000", "slow=0.0005", "slow=0.0001", "stall=0.1"}
WHOLE_ONLY = {"broken-json"}
"""Faults that a stream does not have."""
STREAM_ONLY = {"open-end"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wish", WISHES)
async def test_each_fault_is_a_documented_error_and_each_quirk_is_none(
    files: Files, faulty: str, wish: str, stream: bool
) -> None:
    files.usual(faulty, request_timeout_seconds=5.0)
    async with proxy(files, stream_idle_seconds=2.0) as running:
        content = f"[demo:{wish}]one two three four"
        body = {"messages": [{"role": "user", "content": content}], "stream": stream}
        outcome = judge(await call(running.port, EP, body), "one two three four", stream)
        harmless = wish in HARMLESS or wish in (WHOLE_ONLY if stream else STREAM_ONLY)
        if wish == "type=text/html" and not stream:
            harmless = True  # what counts is the body
        assert (outcome == "good") == harmless, outcome
        await at_rest(running)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wish", ["never-end", "delay=60", "stall=60", "slow=0.3"])
async def test_what_never_ends_is_ended(files: Files, faulty: str, wish: str, stream: bool) -> None:
    files.usual(faulty, request_timeout_seconds=0.6)
    async with proxy(files, stream_idle_seconds=0.3, first_byte_seconds=0.3) as running:
        body = {"messages": [{"role": "user", "content": f"[demo:{wish}]one two"}], "stream": stream}
        outcome = judge(await asyncio.wait_for(call(running.port, EP, body), 15), "one two", stream)
        assert outcome.endswith("DEADLINE_EXCEEDED")
        await at_rest(running)
