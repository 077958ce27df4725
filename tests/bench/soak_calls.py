"""The calls of the soak: what clients do, right and wrong, and what may come of it. Used by `soak.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.bench.workload import PATH

_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of call. `text`: of the message, with the provider's wishes in brackets; `allowed`: how it may end.

    `leave_after`: bytes of the answer after which the client is gone; -1 when it stays."""

    name: str
    share: int
    text: str = "hello"
    stream: bool = False
    leave_after: int = -1
    token: str = ""
    body: bytes = b""
    allowed: frozenset[str] = frozenset({"200 whole"})


def _ends(*outcomes: str) -> frozenset[str]:
    return frozenset(outcomes)


_LEFT = _ends("left")
_WHOLE = _ends("200 whole")
KINDS = (
    Kind("call", 40),
    Kind("long call", 4, "word " * 4000),
    Kind("stream", 20, "[demo:events=20,pace=0.005]", True),
    Kind("provider says 503", 4, "[demo:status=503]", allowed=_ends("503 whole")),
    Kind("provider says 429", 3, "[demo:status=429,retry-after=1]", allowed=_ends("429 whole")),
    Kind("provider cuts an answer", 3, "[demo:cut=1]", allowed=_ends("503 whole", "502 whole", "504 whole")),
    Kind("provider cuts a stream", 4, "[demo:events=20,cut=3]", True, allowed=_ends("200 error event")),
    Kind("stream without its end mark", 3, "[demo:events=5,open-end]", True, allowed=_ends("200 error event")),
    Kind("provider babbles", 2, "[demo:garbage]", allowed=_ends("503 whole", "502 whole")),
    Kind("client leaves amid a stream", 6, "[demo:events=50,pace=0.02]", True, 600, allowed=_LEFT),
    Kind("client leaves at once", 4, "[demo:delay=0.2]", False, 0, allowed=_LEFT),
    Kind("unknown token", 3, token="nobody's", allowed=_ends("401 whole")),
    Kind("not JSON", 2, body=b"{", allowed=_ends("400 whole")),
    Kind("large body that is no call", 2, body=b" " * 300_000 + b"[]", allowed=_ends("400 whole")),
)


@dataclass(slots=True)
class Tally:
    """What came of the calls: outcomes by kind, and those that must not be."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)

    def count(self, kind: Kind, outcome: str) -> None:
        """A call has ended."""
        self.outcomes[kind.name, outcome] += 1
        if outcome not in kind.allowed:
            self.unexpected[f"{kind.name}: {outcome}"] += 1


async def call_until(
    stop: Callable[[], bool], port: int, tokens: tuple[str, ...], tally: Tally, random: Random
) -> None:
    """One client: makes calls of all kinds, one after the other, until it is told to stop."""
    client = Client(port)
    shares = [kind.share for kind in KINDS]
    while not stop():
        (kind,) = random.choices(KINDS, shares)
        tally.count(kind, await client.call(kind, random.choice(tokens)))
        await asyncio.sleep(random.uniform(0, 0.04))
    client.close()


class Client:
    """A keep-alive connection that is made anew when it has ended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.headers: dict[str, str] = {}
        """Of the last answer."""

    async def call(self, kind: Kind, token: str) -> str:
        """Makes a call and says how it ended: `STATUS whole`, `200 error event`, `left`, or what broke."""
        fresh = self._writer is None
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                return await self._call(kind, kind.token or token)
        except TimeoutError:
            self.close()
            return f"no end within {_WAIT_SECONDS:g} s"
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            # A server may end a connection that is idle just now: that is no failure of the next call.
            return f"broken: {type(error).__name__}" if fresh else await self.call(kind, token)

    async def _call(self, kind: Kind, token: str) -> str:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        body = kind.body or _body(kind)
        self._writer.write(
            f"POST {PATH} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if kind.leave_after >= 0:
            await self._reader.read(kind.leave_after) if kind.leave_after else await asyncio.sleep(0.02)
            self.close()
            return "left"
        status, answer = await self._answer(self._reader)
        broken = kind.stream and status == 200 and b"data: [DONE]" not in answer
        return f"{status} {'error event' if broken else 'whole'}"

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = b""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(self.headers.get("content-length", "0")))
        if self.headers.get("connection") == "close":
            self.close()
        return int(first.split(" ")[1]), body

    def close(self) -> None:
        """Ends the connection at once."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.transport.abort()
        self._reader = self._writer = None


def _body(kind: Kind) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": kind.text}], "stream": kind.stream}).encode()
