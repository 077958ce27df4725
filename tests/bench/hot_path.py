"""What a call costs in our own code: real protocols and pipeline in this process, the sockets are stubs.

    python -m tests.bench.hot_path [--profile] [--features] [--case NAME]

The kernel's part is missing (about half of a call's CPU), so that small changes show. Each figure is the least of many
repeats, in CPU time of this process: the least is what the machine's noise cannot add to. The stubs cost about 2 µs,
which are in each figure. `--profile` shows where the time goes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from cProfile import Profile
from dataclasses import dataclass, replace
from pathlib import Path

import click
import httptools
import msgspec
from rich.console import Console

from model_serving.proxy.app import ProxyService
from model_serving.proxy.settings import ProcessSettings, ProxySettings
from model_serving.proxy_config import Limit
from tests.bench import interpreter
from tests.bench.figures import Cost, Found, Line
from tests.bench.ours import EVERYTHING, Features, compatible, write_files
from tests.bench.report import costs_table, profile_table
from tests.bench.stubs import StubLoop, StubTransport
from tests.bench.variants import VARIANTS
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


class Proxy:
    """A proxy on stubs: calls go through it one after the other, over one connection on each side."""

    def __init__(self, root: Path, loop: StubLoop, log: int | None) -> None:
        self._loop = loop
        self._service = ProxyService(ProxySettings(root=root, process=ProcessSettings(access_log_fd=log)))
        self.tick()
        self._service.listening()
        self._client = StubTransport(self._service.data.connection())
        self._provider: StubTransport | None = None

    def tick(self) -> None:
        """What the process does four times a second."""
        self._service.tick(self._loop.time(), time.time())

    async def call(self, case: Case) -> None:
        """One call. AssertionError when it is not answered as expected."""
        client, loop = self._client, self._loop
        if client.closed:
            client = self._client = StubTransport(self._service.data.connection())
        loop.dialled = self._provider  # the loop is shared with the proxies of other cases
        client.feed(case.request)
        if case.answer:
            provider = loop.dialled
            if provider is None or not provider.written:
                provider = await self._dialled()
            provider.written.clear()
            for piece in case.answer:
                provider.feed(piece)
        for _ in range(0 if client.written else _TURNS):
            await asyncio.sleep(0)
        assert client.written and client.written[0].startswith(case.expected), client.take()
        client.written.clear()

    async def lose(self, case: Case, both: bool) -> None:
        """Begins a stream whose client leaves, or whose provider ends its connection, too."""
        self._client.feed(case.request)
        provider = self._provider if self._provider and self._provider.written else await self._dialled()
        for piece in case.answer[:3]:
            provider.feed(piece)
        if both:
            provider.lose()
        self._client.lose()
        if not both:
            assert provider.closed, "the provider goes on although nobody listens"
            provider.lose()
        self._client = StubTransport(self._service.data.connection())
        self._provider = self._loop.dialled = None

    async def _dialled(self) -> StubTransport:
        """The provider's end of a new connection, once the request has come there."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            self._provider = self._loop.dialled
            if self._provider is not None and self._provider.written:
                return self._provider
        raise AssertionError(f"nothing was sent to the provider: {self._client.take()!r}")

    def close(self) -> None:
        """Ends what waits."""
        self._service.end()


@contextlib.asynccontextmanager
async def proxy(case: Case) -> AsyncIterator[Proxy]:
    """A proxy for the calls of a case, warm."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StubLoop)
    with tempfile.TemporaryDirectory(prefix="model-serving-bench-") as folder, _nowhere() as log:
        write_files(Path(folder), compatible("http://127.0.0.1:1/v1"), case.features)
        made = Proxy(Path(folder), loop, log if case.features.access_log else None)
        try:
            for _ in range(50):
                await made.call(case)
            yield made
        finally:
            made.close()
            await asyncio.sleep(0)


@contextlib.contextmanager
def _nowhere() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_WRONLY)
    try:
        yield fd
    finally:
        os.close(fd)


async def measure(chosen: Sequence[Case], repeats: int = REPEATS) -> list[Cost]:
    """The costs of cases, measured in turns, so that they can be compared."""
    async with contextlib.AsyncExitStack() as stack:
        made = [(case, await stack.enter_async_context(proxy(case))) for case in chosen]
        found: dict[str, list[float]] = {case.name: [] for case in chosen}
        for _ in range(repeats):
            for case, served in made:
                found[case.name].append(await _repeat(case, served))
        return [await _cost(case, served, sorted(found[case.name])) for case, served in made]


async def _repeat(case: Case, served: Proxy) -> float:
    served.tick()
    gc.collect()
    began = time.process_time()
    for _ in range(case.calls):
        await served.call(case)
    return (time.process_time() - began) / case.calls / case.units * 1e6


async def _cost(case: Case, served: Proxy, found: Sequence[float]) -> Cost:
    functions, builtins = await _count(served, case)
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


async def profile(case: Case, calls: int = PROFILED_CALLS) -> list[Line]:
    """Where the time of a case goes: the dearest functions."""
    calls = max(20, calls // case.units)
    async with proxy(case) as made:
        profiler = Profile()
        profiler.enable()
        for _ in range(calls):
            await made.call(case)
        profiler.disable()
    lines = []
    for entry in profiler.getstats():
        code = entry.code
        place = (
            code if isinstance(code, str) else f"{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_qualname}"
        )
        lines.append(Line(place, entry.callcount / calls, entry.inlinetime / calls * 1e6))
    return sorted(lines, key=lambda line: -line.own_us)[:TOP]


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


def _request(shape: Shape, token: str) -> bytes:
    body = shape.body()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: application/json\r\n"
        "User-Agent: OpenAI/Python 2.0.0\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nX-Stainless-Lang: python\r\n"
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


def cases(features: Features = EVERYTHING) -> list[Case]:
    """Everything that is measured, with these features."""
    small, large, streamed = Shape("", 1), Shape("", 1, body_bytes=20 * 1024), Shape("", 1, stream="burst")
    token = features.speech.tokens[0]
    blocked = replace(features, limits=(Limit("user", calls=0),))
    return [
        Case("json-1k", _request(small, token), [_completion()], features=features),
        Case("json-20k", _request(large, token), [_completion()], features=features),
        Case("event", _request(streamed, token), _stream(), features=features, calls=8, units=EVENTS + 2),
        Case("burst", _request(streamed, token), [b"".join(_stream())], features=features, calls=100),
        Case("refused-401", _request(small, "nobody's"), [], b"HTTP/1.1 401", features),
        Case("refused-429", _request(small, token), [], b"HTTP/1.1 429", blocked),
    ]


NAMES = ("json-1k", "json-20k", "event", "burst", "refused-401", "refused-429")


async def _run(names: Sequence[str], profiled: bool, repeats: int) -> Found:
    chosen = [case for case in cases() if case.name in names]
    costs = await measure(chosen, repeats)
    costs += [parsing(case) for case in chosen if case.answer]
    profiles = {case.name: await profile(case) for case in chosen} if profiled else {}
    return Found(interpreter.own().name, costs, profiles)


async def _run_features(names: Sequence[str], repeats: int) -> Found:
    """The chosen cases without one feature at a time."""
    chosen = [
        replace(case, name=f"{case.name}, {variant}")
        for variant, features in VARIANTS.items()
        for case in cases(features)
        if case.name in names
    ]
    return Found(interpreter.own().name, await measure(chosen, repeats))


@click.command()
@click.option("--profile", "profiled", is_flag=True, help="Also where the time goes: functions by own time.")
@click.option("--features", "compared", is_flag=True, help="What is saved with a feature off, one at a time.")
@click.option("--case", "names", multiple=True, type=click.Choice(NAMES), help="Only this one (may be repeated).")
@click.option("--repeats", default=REPEATS, show_default=True, help="The least of how many.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(profiled: bool, compared: bool, names: tuple[str, ...], repeats: int, output: str) -> None:
    """CPU per call of the proxy's own code."""
    with asyncio.Runner(loop_factory=StubLoop) as runner:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # as the processes do
        if compared:
            found = runner.run(_run_features(names or ("json-1k", "event"), repeats))
        else:
            found = runner.run(_run(names or NAMES, profiled, repeats))
    if output == "json":
        print(msgspec.json.encode(found).decode())
        return
    console = Console(highlight=False, width=120)
    console.print(costs_table(found.costs, found.interpreter))
    for name, lines in found.profiles.items():
        console.print(profile_table(name, lines))


if __name__ == "__main__":
    main()
