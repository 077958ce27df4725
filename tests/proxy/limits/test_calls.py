"""Limits as calls through a proxy meet them: what is told, and what becomes of a reservation."""

from __future__ import annotations

import asyncio

from model_serving.proxy_config import Limit
from tests.fakes.upstream import FakeUpstream
from tests.proxy.harness import Files, chat, proxy


async def test_answers_streams_and_refusals_tell_the_limit(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, limits=[Limit("user", 2, 100_000)])
    async with proxy(files) as running:
        whole, stream, refused = [await chat(running.port, stream=stream) for stream in (False, True, False)]
    assert [answer.status for answer in (whole, stream, refused)] == [200, 200, 429]
    told = [answer.headers["x-ratelimit-remaining-requests"] for answer in (whole, stream, refused)]
    assert told == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in (whole, stream, refused)} == {"2"}
    assert int(whole.headers["x-ratelimit-remaining-tokens"]) < 100_000 - 512
    used = whole.json["usage"]["prompt_tokens"] + whole.json["usage"]["completion_tokens"]
    assert 0 < used < 100, "and what it did not use is free again"
    assert int(stream.headers["x-ratelimit-remaining-tokens"]) > 100_000 - 700
    assert refused.headers["x-ratelimit-reset-requests"].startswith(("1m", "60s", "59s"))


async def test_what_never_reaches_the_provider_does_not_count(files: Files) -> None:
    async with FakeUpstream() as gone:
        base = gone.base
    files.usual(base, limits=[Limit("user", 1, 600)])
    async with proxy(files) as running:
        assert [(await chat(running.port)).status for _ in range(3)] == [503] * 3
        limiter = running.service.pipeline.limiter  # type: ignore[attr-defined]
        assert limiter.reserved == 0
        async with FakeUpstream(port=int(base.rsplit(":", 1)[1].removesuffix("/v1"))):
            deadline = asyncio.get_running_loop().time() + 20
            while (answer := await chat(running.port)).status == 503:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.1)
            assert answer.status == 200
            assert (await chat(running.port)).status == 429


async def test_an_error_of_the_provider_uses_no_tokens(files: Files) -> None:
    async with FakeUpstream(keys={"another"}) as upstream:
        files.usual(upstream.base, limits=[Limit("user", tokens=600)])
        async with proxy(files) as running:
            assert [(await chat(running.port)).status for _ in range(3)] == [401] * 3
            upstream.keys = None
            assert (await chat(running.port)).status == 200
            assert running.service.pipeline.limiter.reserved == 0  # type: ignore[attr-defined]
