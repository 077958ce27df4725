"""A long run against a real proxy: calls of all kinds while policy and credential change. `make soak`.

Memory is sampled; at the end nothing may be in flight and nothing reserved. Exit code 1 when a call ended as it must
not, when something is left over, or when memory grows; 2 when it could not run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import click
import msgspec
from rich.console import Console

from model_serving.proxy_config import CredentialFile, Layout, Limit
from tests.bench import cache, identity, interpreter, ours
from tests.bench.interpreter import Interpreter
from tests.bench.machine import Cores, Unavailable, family, on_core, resident_bytes
from tests.bench.report import titled
from tests.bench.soak_calls import KINDS, Client, Tally, call_until
from tests.bench.trend import Trend, trend
from tests.proxy.processes import Child

MIB = 1024 * 1024
CLIENTS = 16
CHANGE_SECONDS = 0.5
WINDOW_SECONDS = 62
"""After so much quiet the limits have forgotten all calls: what is missing then was reserved and never settled."""
_OVERLAP_CHANGES = 8
"""How many changes a key is still taken after its successor has come: four seconds. Real providers give hours."""
_PROVIDER = "from model_serving.cli import main; main(['demo-provider', *{options}])"
_LIMIT = 1_000_000_000
_REMAINING = "x-ratelimit-remaining-tokens"


@dataclass(slots=True)
class Result:
    """What a soak has found. `remaining`: tokens that the limit leaves to the same call at the begin and at the end."""

    seconds: float
    tally: Tally = field(default_factory=Tally)
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the begin, MiB."""
    changes: int = 0
    in_flight: int = -1
    remaining: tuple[str, str] | None = None

    @property
    def trend(self) -> Trend | None:
        """How memory developed."""
        return trend(self.memory)

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = [f"{count} × {what}" for what, count in self.tally.unexpected.items()]
        if self.in_flight:
            found.append(f"{self.in_flight} calls are in flight at the end")
        if self.remaining is not None and self.remaining[0] != self.remaining[1]:
            found.append(
                "tokens are reserved at the end: the limit left {} at the begin, {} now".format(*self.remaining)
            )
        if self.trend is not None and self.trend.verdict == "grows":
            found.append(f"memory grows by {self.trend.slope:.1f} MiB per hour")
        return found


def _provider_key(change: int) -> str:
    """The provider's key since a change; the first is the one that `ours.write_files` gives the proxy."""
    return f"sk-provider-{change}" if change else "sk-provider"


class Soak:
    """One run against one proxy."""

    def __init__(self, proxy: Child, root: Path, keys: Path) -> None:
        self._proxy = proxy
        self._layout = Layout(root)
        self._keys = keys
        self._pids = family(proxy.process.pid)

    async def run(self, seconds: float, quiet: bool, say: Callable[[str], None]) -> Result:
        """Calls and changes for so long; `quiet`: then waits until the limits have forgotten them."""
        result = Result(seconds)
        tokens = identity.issuer().tokens
        began = time.monotonic()
        first = await self._remaining(tokens[0]) if quiet else ""
        end = time.monotonic() + seconds
        clients = [
            call_until(lambda: time.monotonic() > end, self._proxy.port, tokens, result.tally, Random(number))
            for number in range(CLIENTS)
        ]
        watching = asyncio.gather(self._sample(result, began, end), self._change(result, end))
        await asyncio.gather(*clients)
        await watching
        self._set_policy(0)
        if quiet:
            say(f"{WINDOW_SECONDS} s of quiet, so that the limits forget")
            await asyncio.sleep(WINDOW_SECONDS)
            result.remaining = (first, await self._remaining(tokens[0]))
        await self._settle(result)
        return result

    async def _sample(self, result: Result, began: float, end: float) -> None:
        while time.monotonic() < end:
            await asyncio.sleep(min(1.0, result.seconds / 40))
            result.memory.append((time.monotonic() - began, resident_bytes(self._pids) / MIB))

    async def _change(self, result: Result, end: float) -> None:
        """Another policy, another key of the provider: in turns, none of which may harm a call."""
        while time.monotonic() < end:
            await asyncio.sleep(CHANGE_SECONDS)
            result.changes += 1
            if result.changes % 2:
                self._set_policy(result.changes)
            else:
                self._rotate(result.changes)

    def _set_policy(self, number: int) -> None:
        limits = [Limit("endpoint", calls=_LIMIT, tokens=_LIMIT)]
        if number:
            limits.append(Limit("user", calls=_LIMIT + number))
        policy = ours.policy(version=str(number), limits=limits)
        ours.write(self._layout.policy, msgspec.json.encode(policy))

    def _rotate(self, number: int) -> None:
        """The provider takes the new key beside the last ones, as providers do."""
        taken = [_provider_key(each) for each in range(number, max(number - _OVERLAP_CHANGES, -1), -2)]
        ours.write(self._keys, "\n".join(taken).encode())
        ours.write(self._layout.credential(CredentialFile("vendor", "token")), taken[0].encode())

    async def _remaining(self, token: str) -> str:
        """What the limit leaves after one small call."""
        client = Client(self._proxy.port)
        await client.call(KINDS[0], token)
        client.close()
        return client.headers.get(_REMAINING, "")

    async def _settle(self, result: Result) -> None:
        deadline = time.monotonic() + 10
        while result.in_flight and time.monotonic() < deadline:
            status = json.loads((await asyncio.to_thread(self._proxy.admin_page, "/status"))[1])
            result.in_flight = status.get("in_flight", 0)  # left out when there is none
            await asyncio.sleep(0.2)


@contextlib.contextmanager
def _provider(python: Interpreter, keys: Path, core: int, log: Path) -> Iterator[int]:
    """A demo provider that takes the keys of a file; gives its port."""
    read, pipe = os.pipe()
    options = ["--port", "0", "--pace", "0.005", "--keys-file", str(keys), "--control-fd", str(read)]
    with on_core(core), log.open("wb") as errors:
        process = subprocess.Popen(
            [python.program, "-c", _PROVIDER.format(options=options)],
            env=interpreter.with_sources(), stdout=subprocess.PIPE, stderr=errors, pass_fds=(read,),
        )  # fmt: skip
    os.close(read)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline() or b"{}").get("listening", 0)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        os.close(pipe)


def soak(seconds: float, quiet: bool, python: Interpreter, say: Callable[[str], None]) -> Result:
    """Runs a soak. Unavailable when the proxy does not get ready."""
    cores = Cores.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="model-serving-soak-") as name:
        folder = Path(name)
        keys = folder / "keys"
        keys.write_text(_provider_key(0))
        with _provider(python, keys, cores.driver, folder / "provider.log") as provider:
            stage = ours.Stage(folder, cores.target, provider, python)
            with ours.start_proxy(stage, ours.EVERYTHING) as proxy:
                run = Soak(proxy, folder / "root", keys)
                proxy.wait_ready()
                say(f"{seconds:g} s of {CLIENTS} clients, a change each {CHANGE_SECONDS:g} s")
                return asyncio.run(run.run(seconds, quiet, say))


def show(result: Result, console: Console) -> None:
    """Prints what was found."""
    table = titled("What came of the calls", ("kind", "outcome", "calls"))
    for (kind, outcome), count in sorted(result.tally.outcomes.items()):
        table.add_row(kind, outcome, f"{count:,}")
    console.print(table)
    first, last = result.memory[0][1], result.memory[-1][1]
    console.print(f"{sum(result.tally.outcomes.values()):,} calls, {result.changes} changes in {result.seconds:g} s")
    console.print(f"memory: {first:.1f} MiB at first, {last:.1f} at last; {_words(result.trend)}")
    console.print(f"in flight at the end: {result.in_flight}")
    reserved = "not looked at" if result.remaining is None else "limit leaves {} at the begin, {} at the end"
    console.print(f"reservations: {reserved.format(*(result.remaining or ()))}")
    for fault in result.faults:
        console.print(f"[red]must not be:[/] {fault}")


def _words(found: Trend | None) -> str:
    if found is None:
        return "too short to tell whether it is flat"
    return f"{found.verdict} ({found.slope:+.1f} ± {found.error:.1f} MiB per hour, {found.gained:+.2f} MiB gained)"


@click.command()
@click.option("--minutes", default=5.0, show_default=True, help="How long calls are made.")
def main(minutes: float) -> None:
    """Calls of all kinds for minutes: is memory flat, is nothing left over?"""
    console = Console(highlight=False)
    progress = Console(stderr=True)

    def say(line: str) -> None:
        progress.print(f"==> {line}", highlight=False)

    try:
        python = interpreter.best(cache.folder(os.environ), os.environ, say)
        result = soak(minutes * 60, True, python, say)
    except Unavailable as reason:
        progress.print(f"The soak cannot run: {reason}", highlight=False)
        sys.exit(2)
    show(result, console)
    console.print(f"{python.name}")
    sys.exit(1 if result.faults else 0)


if __name__ == "__main__":
    main()
