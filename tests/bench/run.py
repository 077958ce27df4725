"""One run: gets the programs, starts the targets, measures, ends everything. Called by `__main__.py` and the test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tests.bench import cache, interpreter, ours, targets
from tests.bench.figures import Found
from tests.bench.interpreter import ROOT, Interpreter
from tests.bench.machine import Cores, Unavailable
from tests.bench.peers.base import Say
from tests.bench.peers.registry import ABSENT, PEERS, QUICK
from tests.bench.rounds import Driver, Effort, Sample, measure_all
from tests.bench.summary import BOTH, PROXY, Summary, summarise
from tests.bench.targets import Target, running
from tests.bench.variants import VARIANTS
from tests.bench.workload import SHAPES, Shape

DIRECT, OWN_BUILD = "direct", "proxy, own build"
NAMES = (DIRECT, *QUICK, PROXY, OWN_BUILD, BOTH)
FULL = Effort(rounds=3, warm_seconds=0.2, seconds=0.9)
SHORT = Effort(rounds=2, warm_seconds=0.08, seconds=0.22)

Maker = Callable[[Path], contextlib.AbstractContextManager[Target]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and for how long."""

    effort: Effort
    names: Sequence[str] = NAMES
    shapes: Sequence[Shape] = SHAPES
    in_process: bool = True
    """Also what `hot_path.py` finds."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all targets of a run have in common."""

    store: Path
    cores: Cores
    provider: int
    mock: Path
    python: Interpreter
    say: Say


def run(plan: Plan, say: Say) -> Summary:
    """Measures everything of a plan. Unavailable when the compiler is missing or a target of ours does not work."""
    with surroundings(say) as (around, folder):
        inside = hot_path(around.python, say) if plan.in_process else None
        found, left_out, samples = measured(plan, around, folder)
    rows, budgets = summarise(found, plan.shapes, samples)
    return Summary(
        rows,
        budgets,
        interpreter=around.python.name,
        does={name: does for name in plan.names if (does := _does(name))},
        left_out=left_out,
        in_process=inside.costs if inside else [],
        profile=inside.profiles["json-1k"] if inside else [],
    )


@contextlib.contextmanager
def surroundings(say: Say) -> Iterator[tuple[Surroundings, Path]]:
    """The programs, the provider, and a folder for the run."""
    cores = Cores.of_this_machine()
    store = cache.folder(os.environ)
    mock = cache.compiled("mock", store)
    python = interpreter.best(store, os.environ, say)
    with tempfile.TemporaryDirectory(prefix="model-serving-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user when this is root
        with targets.provider(mock, cores, folder) as provider:
            yield Surroundings(store, cores, provider, mock, python, say), folder


def measured(plan: Plan, around: Surroundings, folder: Path) -> tuple[list[Target], dict[str, str], list[Sample]]:
    """The targets of a plan, those that are not to be had with the reason, and what was measured."""
    load = cache.compiled("load", around.store)
    found: list[Target] = []
    left_out = dict(ABSENT) if set(PEERS) <= set(plan.names) else {}
    with contextlib.ExitStack() as stack:
        for name in plan.names:
            if name == OWN_BUILD and around.python.program == interpreter.own().program:
                continue  # it is the one that is measured anyhow
            own = folder / "".join(filter(str.isalnum, name))
            own.mkdir(mode=0o755)
            around.say(f"starting {name}")
            try:
                found.append(stack.enter_context(_warm(name, around, own)))
            except Unavailable as reason:
                if name not in PEERS:  # ours must not fail
                    raise
                left_out[name] = str(reason)
        driver = Driver(load, around.cores.driver, folder)
        return found, left_out, measure_all(driver, found, plan.shapes, plan.effort, around.say)


@contextlib.contextmanager
def _warm(name: str, around: Surroundings, folder: Path) -> Iterator[Target]:
    """A target, started twice: the first start fills the caches of the machine. Once where that would take long."""
    first = 0.0
    if name not in PEERS or not PEERS[name].slow:
        with _start(name, around, folder) as once:
            first = once.start_seconds
    with _start(name, around, folder) as target:
        yield replace(target, start_seconds=min(first or target.start_seconds, target.start_seconds))


def _start(name: str, around: Surroundings, folder: Path) -> contextlib.AbstractContextManager[Target]:
    core = around.cores.target
    if name == DIRECT:
        return running(name, core, folder / "log", lambda port: targets.direct(around.mock, port))
    if name in PEERS:
        program = PEERS[name].get(around.store, around.say)
        return targets.peer(PEERS[name], program, folder, around.cores, around.provider)
    if name == OWN_BUILD:
        return ours.proxy(ours.Stage(folder, core, around.provider, interpreter.own()), name)
    stage = ours.Stage(folder, core, around.provider, around.python)
    return ours.routed(stage) if name == BOTH else ours.proxy(stage, name, VARIANTS[name])


def _does(name: str) -> str:
    if name in PEERS:
        return PEERS[name].does
    return {
        DIRECT: "the mock provider alone: the floor",
        PROXY: ours.DOES,
        BOTH: "the same behind the router",
        OWN_BUILD: f"the same on the project's own interpreter: {interpreter.own().name}",
    }.get(name, "")


def hot_path(python: Interpreter, say: Say, *options: str) -> Found:
    """What our own code costs without the kernel, measured in a process of its own. Unavailable when that fails."""
    say("the proxy's own code, without the kernel")
    command = [str(python.program), "-m", "tests.bench.hot_path", "--output", "json", "--profile", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=interpreter.with_sources(), capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise Unavailable(f"tests.bench.hot_path failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return msgspec.json.decode(done.stdout, type=Found)
