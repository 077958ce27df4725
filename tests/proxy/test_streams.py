"""Streams: unbuffered, never falsely complete, ended on both sides when one side is gone."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream, Received, Script, event, raw, silence, stream
from tests.proxy.harness import AUTH, MESSAGES, Answer, Files, Running, call, chat, proxy, request_bytes, until

PATH = "/serving-endpoints/ep/invocations"
BODY = json.dumps({"messages": MESSAGES, "stream": True}).encode()
CHUNK = {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
ONE = event(CHUNK)
DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
USAGE = event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})


async def ask(running: Running, **fields: Any) -> Answer:
    return await chat(running.port, stream=True, **fields)


def is_broken(body: bytes) -> bool:
    """Whether a stream ends in an error event and not in an end mark."""
    last = [part for part in body.split(b"\n\n") if part][-1]
    return b'"error":{' in last and b'"error_code":"' in last and b"[DONE]" not in body


async def test_events_arrive_one_by_one_and_byte_for_byte(running: Running, upstream: FakeUpstream) -> None:
    go_on = asyncio.Event()
    odd = b'data:  {"choices" : [ {"delta":{"content":"\xc3\xa9 \\"usage\\":{ [DONE]"}} ] , "x":1.0}\n\n'

    async def halting(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(odd), odd))
        await go_on.wait()
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))

    upstream.scripts.append(halting)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request_bytes("POST", PATH, BODY))
    seen = await asyncio.wait_for(reader.readuntil(b"\n\n"), 10)
    assert seen.endswith(odd)
    head = seen.lower()
    assert b"content-type: text/event-stream" in head
    assert b"served-model-name: gpt\r\n" in head
    assert b"x-config-version: 3\r\n" in head
    assert b"x-request-id: " in head
    go_on.set()
    assert DONE in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
    writer.close()


@pytest.mark.parametrize(
    ("script", "complete"),
    [
        pytest.param(stream([ONE, DONE]), True, id="end mark and proper end"),
        pytest.param(stream([ONE]), False, id="proper end without end mark"),
        pytest.param(stream([ONE], end=False), False, id="cut without end mark"),
        pytest.param(stream([ONE, DONE], end=False), False, id="end mark, but the transfer is cut"),
        pytest.param(stream([ONE, b'data: {"cho'], end=False), False, id="cut in the middle of an event"),
        pytest.param(stream([]), False, id="nothing at all"),
        pytest.param(stream([ONE, b"data: [DONE]"]), True, id="end mark without its blank line"),
        pytest.param(raw(HEAD + b"\r\n" + ONE + DONE, close=True), True, id="until close, with end mark"),
        pytest.param(raw(HEAD + b"\r\n" + ONE, close=True), False, id="until close, without end mark"),
        pytest.param(raw(HEAD + b"\r\n" + ONE, b"data: x", abort=True), False, id="reset"),
        pytest.param(raw(HEAD + b"content-length: 5\r\n\r\n" + ONE, close=True), False, id="more than its length"),
        pytest.param(
            raw(HEAD + b"content-length: %d\r\n\r\n" % len(ONE + DONE) + ONE + DONE), True, id="with a length"
        ),
        pytest.param(
            raw(HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", close=True), False, id="a chunk that is none"
        ),
        pytest.param(
            raw(
                HEAD + b"transfer-encoding: chunked\r\n\r\n",
                *[b"1\r\n%c\r\n" % byte for byte in ONE + DONE],
                b"0\r\n\r\n",
            ),
            True,
            id="byte by byte",
        ),
    ],
)
async def test_a_stream_ends_with_done_only_when_it_was_complete(
    running: Running, upstream: FakeUpstream, script: Script, complete: bool
) -> None:
    upstream.scripts.append(script)
    answer = await ask(running)
    assert answer.status == 200
    if complete:
        assert answer.body == ONE + DONE
    else:
        assert is_broken(answer.body)
    assert (await chat(running.port)).status == 200


async def test_an_end_mark_counts_although_the_upstream_keeps_the_transfer_open(
    running: Running, upstream: FakeUpstream
) -> None:
    upstream.scripts.append(
        raw(HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(ONE + DONE), ONE + DONE))
    )
    assert (await asyncio.wait_for(ask(running), 15)).body == ONE + DONE


async def test_what_an_upstream_waits_with_the_end_is_no_time_between_tokens(
    running: Running, upstream: FakeUpstream
) -> None:
    events = b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":3}}\n\n' + DONE
    upstream.scripts.append(raw(HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(events), events)))
    await asyncio.wait_for(ask(running), 15)
    page = (await call(running.admin_port, "/metrics")).body.decode()
    (total,) = re.findall(r"^model_serving_time_per_output_token_seconds_sum{.*} (\S+)$", page, re.MULTILINE)
    assert float(total) < 0.5, "the upstream kept the transfer open for two seconds"


async def test_comments_event_names_and_ids_are_left_out(running: Running, upstream: FakeUpstream) -> None:
    noisy = b": ping\n\nevent: message\nid: 7\nretry: 5\n" + ONE + b"\r\n: x\r\n" + ONE.replace(b"\n", b"\r\n") + DONE
    upstream.scripts.append(stream([noisy[:9], noisy[9:40], noisy[40:]]))
    assert (await ask(running)).body == ONE + ONE + DONE


async def test_usage_that_the_client_asked_for_is_forwarded(running: Running, upstream: FakeUpstream) -> None:
    answer = await ask(running, stream_options={"include_usage": True, "x": 1})
    assert b'"usage":{"prompt_tokens":7' in answer.body
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True, "x": 1}


async def test_usage_that_comes_with_text_is_forwarded_though_not_asked_for(
    running: Running, upstream: FakeUpstream
) -> None:
    mixed = event(CHUNK | {"usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    upstream.scripts.append(stream([mixed, USAGE, DONE]))
    assert (await ask(running)).body == mixed + DONE


async def test_usage_of_streams_and_answers_is_counted(running: Running) -> None:
    await ask(running)
    await chat(running.port)
    page = (await call(running.admin_port, "/metrics")).body.decode()
    assert 'model_serving_tokens_total{served_entity="gpt",kind="input"} 14\n' in page
    assert 'model_serving_tokens_total{served_entity="gpt",kind="output"} 8\n' in page
    assert 'model_serving_time_to_first_token_seconds_count{served_entity="gpt",task="llm/v1/chat"} 1\n' in page


async def test_a_client_that_leaves_ends_the_upstreams_stream(running: Running, upstream: FakeUpstream) -> None:
    upstream.scripts.append(stream([ONE] * 100_000, pause=0.01))
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request_bytes("POST", PATH, BODY))
    await asyncio.wait_for(reader.readuntil(ONE), 10)
    writer.close()
    await until(lambda: upstream.closed)
    await until(lambda: not len(running.service.pipeline.in_flight))
    page = (await call(running.admin_port, "/metrics")).body.decode()
    assert 'status="499"' in page


async def test_a_client_that_leaves_before_the_answer_ends_the_upstreams_call(
    running: Running, upstream: FakeUpstream
) -> None:
    upstream.scripts.append(silence())
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request_bytes("POST", PATH, BODY))
    await until(lambda: upstream.requests)
    writer.close()
    await until(lambda: not len(running.service.pipeline.in_flight))


async def test_a_slow_client_slows_the_upstream_down(running: Running, upstream: FakeUpstream) -> None:
    sent = 0
    big = event(CHUNK | {"pad": "x" * 65536})

    async def flood(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(800):
            writer.write(b"%x\r\n%b\r\n" % (len(big), big))
            await writer.drain()
            sent += 1
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))

    upstream.scripts.append(flood)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=65536)
    writer.write(request_bytes("POST", PATH, BODY))
    before = -1
    while sent != before:  # until nothing moves any more
        before = sent
        await asyncio.sleep(0.5)
    assert sent < 600
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        data = data[-100:] + await asyncio.wait_for(reader.read(1 << 20), 10)
    assert sent == 800
    assert DONE in data
    writer.close()


async def test_a_stream_that_pauses_too_long_ends_in_an_error(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    upstream.scripts.append(stream([ONE, ONE], pause=30))
    async with proxy(files, stream_idle_seconds=0.3) as running:
        answer = await ask(running)
    assert answer.body.startswith(ONE)
    assert is_broken(answer.body)
    assert b"DEADLINE_EXCEEDED" in answer.body


async def test_a_stream_that_lasts_too_long_ends_in_an_error(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base, request_timeout_seconds=0.5)
    upstream.scripts.append(stream([ONE] * 1000, pause=0.05))
    async with proxy(files) as running:
        answer = await ask(running)
    assert answer.body.startswith(ONE + ONE)
    assert is_broken(answer.body)
    assert b"DEADLINE_EXCEEDED" in answer.body


async def test_an_error_before_the_stream_is_an_ordinary_error(running: Running, upstream: FakeUpstream) -> None:
    upstream.scripts.append(raw(b"HTTP/1.1 429 X\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\n{}"))
    answer = await ask(running)
    assert (answer.status, answer.json["error_code"], answer.headers["retry-after"]) == (
        429,
        "REQUEST_LIMIT_EXCEEDED",
        "3",
    )


async def test_an_event_far_too_large_ends_the_stream(running: Running, upstream: FakeUpstream) -> None:
    upstream.scripts.append(stream([ONE, b"data: " + b"x" * (1 << 22)] + [b"x" * (1 << 22)] * 5, end=True))
    answer = await ask(running)
    assert answer.body.startswith(ONE)
    assert is_broken(answer.body)


async def test_a_connection_serves_calls_after_its_stream(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    for _ in range(3):
        writer.write(request_bytes("POST", PATH, BODY, {"authorization": AUTH}))
        assert DONE in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
    writer.close()
