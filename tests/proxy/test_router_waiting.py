"""Calls that wait at the router, and what is kept of calls that it answers by itself."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from model_serving.proxy.settings import ProcessSettings
from model_serving.proxy_config import EntryState, Grant
from tests.fakes.upstream import FakeUpstream
from tests.proxy.fronts import AUTH, INVOCATIONS, ask, entry, set_table, told
from tests.proxy.harness import Running, call, request_bytes, until

STARTING = entry(state=EntryState.STARTING)


@asynccontextmanager
async def logged(lines: list[dict[str, Any]], **settings: Any) -> AsyncIterator[Running]:
    """A router whose access log is in `lines` at the end."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as log:
        async with told(process=ProcessSettings(access_log_fd=writing), **settings) as front:
            yield front
        os.close(writing)
        lines += [json.loads(line) for line in log.read().splitlines()]


def held(front: Running) -> int:
    service: Any = front.service
    return len(service.pipeline._held)


async def leave(front: Running) -> None:
    """A client sends a call and goes away."""
    before = held(front)
    _, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(request_bytes("POST", INVOCATIONS, b"{}", AUTH | {"x-request-id": "left"}))
    await until(lambda: held(front) > before)
    writer.close()
    await until(lambda: held(front) == before)


async def test_a_held_call_whose_client_leaves_has_its_line_and_is_counted(upstream: FakeUpstream) -> None:
    lines: list[dict[str, Any]] = []
    async with logged(lines) as front:
        set_table(front, ep=STARTING)
        await leave(front)
        page = (await call(front.admin_port, "/metrics")).body.decode()
    assert 'model_serving_routed_calls_total{endpoint="ep",status="499"} 1\n' in page
    told = [(line["id"], line["status"], line["error_code"], line["principal"], line["endpoint"]) for line in lines]
    assert told == [("left", 499, "CANCELLED", "ada", "ep")]


async def test_the_list_of_models_has_its_line_and_is_counted() -> None:
    lines: list[dict[str, Any]] = []
    async with logged(lines) as front:
        set_table(front, ep=entry(1))
        answer = await call(front.port, "/serving-endpoints/models", headers=AUTH | {"x-request-id": "mine"})
        assert [model["id"] for model in answer.json["data"]] == ["ep"]
        page = (await call(front.admin_port, "/metrics")).body.decode()
    assert 'model_serving_routed_calls_total{endpoint="",status="200"} 1\n' in page
    told = [(line["id"], line["status"], line["principal"], line["process"]) for line in lines]
    assert told == [("mine", 200, "ada", "router")] and "error_code" not in lines[0]


async def test_few_calls_are_held(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    async with told() as front:
        service: Any = front.service
        monkeypatch.setattr(service.pipeline._held, "_places", 3)
        set_table(front, ep=STARTING, other=STARTING)
        waiting = [asyncio.create_task(ask(front)) for _ in range(3)]
        await until(lambda: held(front) == 3)
        answer = await call(front.port, INVOCATIONS.replace("ep/", "other/"), {"messages": []}, AUTH)
        assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) >= 1
        set_table(front, ep=entry(upstream.port), other=STARTING)
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}


async def test_held_calls_count_as_under_way() -> None:
    async with told(process=ProcessSettings(max_in_flight=2)) as front:
        set_table(front, ep=STARTING)
        waiting = [asyncio.create_task(ask(front)) for _ in range(2)]
        await until(lambda: held(front) == 2)
        assert (await ask(front)).status == 429
        set_table(front)
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {404}


@pytest.mark.parametrize("state", [EntryState.STARTING, EntryState.NOT_READY])
async def test_who_may_not_query_neither_waits_nor_hears_what_is_wrong(state: EntryState) -> None:
    async with told() as front:
        message = "the Secret vault has no key openai"
        set_table(front, ep=entry(state=state, message=message, grants=[Grant("user", "ada", "CAN_VIEW")]))
        answer = await ask(front)
        assert (answer.status, answer.json["error_code"]) == (403, "PERMISSION_DENIED")
        assert b"vault" not in answer.body and not held(front)


async def test_an_endpoint_that_goes_while_calls_wait_is_404_for_them() -> None:
    async with told() as front:
        set_table(front, ep=STARTING)
        waiting = asyncio.create_task(ask(front))
        await until(lambda: held(front))
        set_table(front)
        assert (await waiting).json["error_code"] == "ENDPOINT_NOT_FOUND"


async def test_the_end_of_the_process_answers_who_waits() -> None:
    async with told() as front:
        set_table(front, ep=STARTING)
        waiting = [asyncio.create_task(ask(front)) for _ in range(3)]
        await until(lambda: held(front) == 3)
        front.service.end()
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {503}
