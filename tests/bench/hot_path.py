"""What a call costs in our own code: real protocols and pipeline in this process, the sockets are stubs.

    python -m tests.bench.hot_path [--profile] [--case NAME]

The kernel's part is missing (about half of a call's CPU), so that small changes show. Each figure is the least of many
repeats, in CPU time of this process: the least is what the machine's noise cannot add to. `--profile` counts the
function calls of one proxied call and shows where the time goes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pstats
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from cProfile import Profile
from dataclasses import dataclass
from pathlib import Path

import click
import httptools
from rich.console import Console
from rich.table import Table

from model_serving.proxy.app import ProxyService
from model_serving.proxy.settings import ProxySettings
from model_serving.proxy_config import Limit
from tests.bench import interpreter
from tests.bench.ours import EVERYTHING, Features, write_files
from tests.bench.stubs import StubLoop, StubTransport
from tests.bench.workload import PATH, Shape

REPEATS = 20
PROFILED_CALLS = 500
TOP = 25
EVENTS = 100
_TURNS = 100  # of the loop, at most, until a call is sent or answered


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of call: what the client sends, what the provider answers in which pieces, how the answer begins."""

    name: str
    request: bytes
    answer: Sequence[bytes]
    expected: bytes = b"HTTP/1.1 200"
    features: Features = EVERYTHING
    calls: int = 300
    """In one repeat."""
    units: int = 1
    """What the cost is divided by: events of a stream that comes event by event."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one case costs, in microseconds per call or event. `functions`, `builtins`: calls of each, per call."""

    name: str
    least_us: float
    median_us: float
    functions: float = 0.0
    builtins: float = 0.0


class Proxy:
    """A proxy on stubs: calls go through it one after the other, over one connection on each side."""

    def __init__(self, root: Path, loop: StubLoop) -> None:
        self._loop = loop
        self._service = ProxyService(ProxySettings(root=root))
        self.tick()
        self._service.listening()
        self._client = StubTransport(self._service.data.connection())

    def tick(self) -> None:
        """What the process does four times a second."""
        self._service.tick(self._loop.time(), time.time())

    async def call(self, case: Case) -> None:
        """One call. AssertionError when it is not answered as expected."""
        client, loop = self._client, self._loop
        if client.closed:
            client = self._client = StubTransport(self._service.data.connection())
        client.feed(case.request)
        for _ in range(_TURNS):  # the first call waits for a connection
            provider = loop.dialled
            if client.written or (provider is not None and provider.written):
                break
            await asyncio.sleep(0)
        if case.answer and provider is not None:
            assert provider.written, client.take()
            provider.written.clear()
            for piece in case.answer:
                provider.feed(piece)
        for _ in range(_TURNS):
            if client.written:
                break
            await asyncio.sleep(0)
        assert client.written[0].startswith(case.expected), client.take()
        client.written.clear()

    def close(self) -> None:
        """Ends what waits."""
        self._service.end()


@contextlib.asynccontextmanager
async def proxy(case: Case) -> AsyncIterator[Proxy]:
    """A proxy for the calls of a case, warm."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StubLoop)
    loop.dialled = None
    with tempfile.TemporaryDirectory(prefix="model-serving-bench-") as folder:
        write_files(Path(folder), "http://127.0.0.1:1/v1", case.features)
        made = Proxy(Path(folder), loop)
        try:
            for _ in range(50):
                await made.call(case)
            yield made
        finally:
            made.close()
            await asyncio.sleep(0)


async def measure(case: Case, repeats: int = REPEATS) -> Cost:
    """The cost of a case."""
    async with proxy(case) as made:
        found = []
        for _ in range(repeats):
            made.tick()
            gc.collect()
            began = time.process_time()
            for _ in range(case.calls):
                await made.call(case)
            found.append((time.process_time() - began) / case.calls / case.units * 1e6)
        functions, builtins = await _count(made, case)
    found.sort()
    return Cost(case.name, found[0], found[len(found) // 2], functions / case.units, builtins / case.units)


async def _count(made: Proxy, case: Case) -> tuple[float, float]:
    """How many Python functions and how many builtins one call calls, the driver's own left out."""
    counted = {"call": 0, "c_call": 0}
    own = {__file__, sys.modules[StubTransport.__module__].__file__}

    def see(frame: object, event: str, _: object) -> None:
        if event in counted and frame.f_code.co_filename not in own:  # type: ignore[attr-defined]
            counted[event] += 1

    sys.setprofile(see)
    try:
        for _ in range(20):
            await made.call(case)
    finally:
        sys.setprofile(None)
    return counted["call"] / 20, counted["c_call"] / 20


async def profile(case: Case, calls: int = PROFILED_CALLS) -> pstats.Stats:
    """Where the time of a case goes. The profile's own cost makes small functions look dearer than they are."""
    async with proxy(case) as made:
        profiler = Profile()
        profiler.enable()
        for _ in range(calls):
            await made.call(case)
        profiler.disable()
    return pstats.Stats(profiler)


def parsing(case: Case) -> Cost:
    """What the parser alone costs for the two messages of a case: the part of a call that no code of ours can save."""

    class Callbacks:
        def on_header(self, name: bytes, value: bytes) -> None:
            pass

        def on_body(self, data: bytes) -> None:
            pass

    def once() -> None:
        request.feed_data(case.request)
        for piece in case.answer:
            answer.feed_data(piece)

    request, answer = httptools.HttpRequestParser(Callbacks()), httptools.HttpResponseParser(Callbacks())
    found = sorted(_time(once, case.calls) / case.units for _ in range(REPEATS))
    return Cost(f"{case.name}: parser alone", found[0], found[len(found) // 2])


def _time(work: Callable[[], None], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1e6


def _request(shape: Shape, key: str = "key-0") -> bytes:
    body = shape.body()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: application/json\r\n"
        "User-Agent: OpenAI/Python 2.0.0\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nX-Stainless-Lang: python\r\n"
        f"X-Stainless-Package-Version: 2.0.0\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_HEADERS = (
    b"date: Sun, 22 Nov 2026 14:00:00 GMT\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\n"
    b"x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-request-id: req_5d1f0c0e7a6b\r\n"
)
_ID = b'{"id":"chatcmpl-BnH2rT9sWq4vY7xK1mZ3pL8cD5fG6","created":1763812345,"model":"provider-model",'
_USAGE = b'"usage":{"prompt_tokens":213,"completion_tokens":47,"total_tokens":260}}'


def _completion() -> bytes:
    text = b"The capital of France is Paris. It lies on the river Seine in the north of the country. " * 6
    choice = b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}],' % text
    body = _ID + b'"object":"chat.completion",' + choice + _USAGE
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + _HEADERS
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def _stream() -> list[bytes]:
    """A stream's pieces: its head, its events, the usage event, the end."""
    start = b"data: " + _ID + b'"object":"chat.completion.chunk",'
    events = [
        start + b'"choices":[{"index":0,"delta":{"content":" tok%d"},"finish_reason":null}],"usage":null}' % number
        for number in range(EVENTS)
    ]
    events += [start + b'"choices":[],' + _USAGE, b"data: [DONE]"]
    chunks = [b"%x\r\n%b\n\n\r\n" % (len(event) + 2, event) for event in events]
    chunks[-1] += b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n" + _HEADERS + b"\r\n"
    return [head, *chunks]


def cases() -> list[Case]:
    """Everything that is measured."""
    small, streamed = Shape("1 KB", 1), Shape("stream", 1, stream="burst")
    blocked = Features(limits=(Limit("user", 0),))
    return [
        Case("json-1k", _request(small), [_completion()]),
        Case("json-20k", _request(Shape("20 KB", 1, body_bytes=20 * 1024)), [_completion()]),
        Case("event", _request(streamed), _stream(), calls=8, units=EVENTS + 2),
        Case("burst", _request(streamed), [b"".join(_stream())], calls=100),
        Case("refused-401", _request(small, "nobody's"), [], b"HTTP/1.1 401"),
        Case("refused-429", _request(small), [], b"HTTP/1.1 429", blocked),
    ]


def table(costs: Sequence[Cost]) -> Table:
    """The figures for people."""
    title = f"Our own code, CPU in µs per call (event: per event of a stream). {interpreter.name()}"
    shown = Table(title=title, title_justify="left")
    for name in ("", "least", "median", "Python calls", "builtin calls"):
        shown.add_column(name, justify="right" if name else "left")
    for cost in costs:
        counts = [f"{cost.functions:.1f}", f"{cost.builtins:.1f}"] if cost.functions else ["", ""]
        shown.add_row(cost.name, f"{cost.least_us:.2f}", f"{cost.median_us:.2f}", *counts)
    return shown


@contextlib.contextmanager
def quiet() -> Iterator[Console]:
    """What the proxy prints (its access log) goes nowhere, but is written; what the console prints still shows."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    with os.fdopen(kept, "w") as shown:
        yield Console(file=shown, highlight=False, width=120)
        shown.flush()
        os.dup2(kept, 1)
    os.close(nowhere)


async def _main(chosen: Sequence[Case], profiled: bool, repeats: int, console: Console) -> None:
    costs = []
    for case in chosen:
        costs += [await measure(case, repeats), *([parsing(case)] if case.answer else [])]
    console.print(table(costs))
    if profiled:
        for case in chosen:
            stats = await profile(case)
            stats.stream = console.file  # type: ignore[attr-defined]
            console.print(f"\n{case.name}: {PROFILED_CALLS} calls, by own time")
            stats.strip_dirs().sort_stats("tottime").print_stats(TOP)


NAMES = [case.name for case in cases()]


@click.command()
@click.option("--profile", "profiled", is_flag=True, help="Also where the time goes: functions by own time.")
@click.option("--case", "names", multiple=True, type=click.Choice(NAMES), help="Only this one (may be repeated).")
@click.option("--repeats", default=REPEATS, show_default=True, help="The least of how many.")
def main(profiled: bool, names: tuple[str, ...], repeats: int) -> None:
    """CPU per call of the proxy's own code."""
    chosen = [case for case in cases() if not names or case.name in names]
    with quiet() as console, asyncio.Runner(loop_factory=StubLoop) as runner:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # as the processes do
        runner.run(_main(chosen, profiled, repeats, console))


if __name__ == "__main__":
    main()
