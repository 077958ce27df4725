"""Many clients in a process of their own: `python -m tests.proxy.crowd KIND PORT NUMBER`. Used by test_crowds.py.

Prints one JSON line when all are connected, waits for a line on stdin where that matters, then prints what came of
them.

* idle: connect, say nothing, until told to leave.
* slow: send the head or the body of a call a byte at a time, until the server ends it.
* streams: ask for a stream each, and check every event of every one.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import Counter
from typing import Any

import uvloop

from tests.proxy.harness import MESSAGES, request_bytes

PATH = "/serving-endpoints/ep/invocations"
HOSTS = 8  # addresses of our own, so that ports do not run short
AT_ONCE = 400
PAUSE_SECONDS = 0.25


async def _connect(
    port: int, number: int, gate: asyncio.Semaphore
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with gate:
        own = (f"127.0.0.{2 + number % HOSTS}", 0)
        return await asyncio.open_connection("127.0.0.1", port, local_addr=own)


async def idle(port: int, number: int) -> dict[str, Any]:
    """Holds connections open until a line comes, then counts those that are still open."""
    gate = asyncio.Semaphore(AT_ONCE)
    opened = await asyncio.gather(*(_connect(port, each, gate) for each in range(number)))
    _say({"connected": len(opened)})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    still = sum(not reader.at_eof() for reader, _ in opened)
    for _, writer in opened:
        writer.transport.abort()
    return {"still open": still}


async def slow(port: int, number: int) -> dict[str, Any]:
    """Drips calls; counts how each ended."""
    gate = asyncio.Semaphore(AT_ONCE)
    body = json.dumps({"messages": MESSAGES}).encode()
    call = request_bytes("POST", PATH, body, {"connection": "close"})

    async def drip(each: int) -> str:
        reader, writer = await _connect(port, each, gate)
        done = len(call) - len(body) if each % 2 else 0  # every other one drips only its body
        writer.write(call[:done])
        answer = asyncio.ensure_future(reader.read())
        for byte in call[done:]:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.wait([answer], timeout=PAUSE_SECONDS)
        words = (await answer).split(b" ")
        writer.close()
        return words[1].decode() if len(words) > 1 else "nothing"

    _say({"connected": number})
    return dict(Counter(await asyncio.gather(*(drip(each) for each in range(number)))))


async def streams(port: int, number: int) -> dict[str, Any]:
    """Reads streams at once; counts those that are complete and in order, and tells of others."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def read(each: int) -> str:
        reader, writer = await _connect(port, each, gate)
        prompt = [{"role": "user", "content": f"stream {each};"}]
        writer.write(request_bytes("POST", PATH, json.dumps({"messages": prompt, "stream": True}).encode()))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            return head.split(b"\r\n")[0].decode()
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:size]
        await reader.readexactly(2)
        writer.close()
        return _fault(body, each)

    _say({"connected": number})
    found = Counter(await asyncio.gather(*(read(each) for each in range(number))))
    return {"complete": found.pop("", 0), "faults": dict(found.most_common(5))}


def _fault(body: bytes, each: int) -> str:
    """What is wrong with a stream; empty when it has all events of `each`, in order, and the end mark."""
    *events, mark, rest = body.split(b"\n\n")
    if (mark, rest) != (b"data: [DONE]", b""):
        return "no end mark"
    texts = [json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"]["content"] for event in events]
    expected = [f"{each}:{number}/{len(texts)}" for number in range(len(texts))]
    return "" if texts == expected and texts else f"wrong events: {texts[:3]}"


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kind, port, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _say(uvloop.run({"idle": idle, "slow": slow, "streams": streams}[kind](port, number)))
