"""One run: gets the programs, starts the targets, measures, ends everything. Called by `__main__.py` and the test."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cache, ours, targets
from tests.bench.machine import Cores, Unavailable
from tests.bench.rounds import Driver, Effort, measure_all
from tests.bench.summary import Summary, summarise
from tests.bench.targets import Target, running
from tests.bench.workload import SHAPES, Shape

Say = Callable[[str], None]
NAMES = ("direct", "nginx", "Envoy", "proxy", "router + proxy")

FULL = Effort(rounds=3, warm_seconds=0.2, seconds=0.9)
QUICK = Effort(rounds=2, warm_seconds=0.08, seconds=0.22)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and for how long."""

    effort: Effort
    names: Sequence[str] = NAMES
    shapes: Sequence[Shape] = SHAPES


class _Stage:
    """The targets that are started so far, and those that are not to be had."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, say: Say) -> None:
        self.targets: list[Target] = []
        self.left_out: dict[str, str] = {}
        self._stack = stack
        self._folder = folder
        self._say = say

    def start(self, name: str, make: Callable[[Path], contextlib.AbstractContextManager[Target]]) -> None:
        """Starts one target in a folder of its own. A peer that fails is left out; ours must not fail."""
        self._say(f"starting {name}")
        folder = self._folder / name.replace(" ", "")
        folder.mkdir(mode=0o755)
        try:
            self.targets.append(self._stack.enter_context(make(folder)))
        except Unavailable as reason:
            if name not in ("nginx", "Envoy"):
                raise
            self.left_out[name] = str(reason)


def run(plan: Plan, say: Say) -> Summary:
    """Measures everything of a plan. Unavailable when the compiler is missing or a target of ours does not work."""
    cores = Cores.of_this_machine()
    store = cache.folder(os.environ)
    mock, load = cache.compiled("mock", store), cache.compiled("load", store)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="model-serving-bench-")))
        folder.chmod(0o755)  # nginx's worker is another user when this is root
        provider = stack.enter_context(targets.provider(mock, cores, folder))
        stage = _Stage(stack, folder, say)
        makers: dict[str, Callable[[Path], contextlib.AbstractContextManager[Target]]] = {
            "direct": lambda at: running(
                "direct", cores.target, at / "log", lambda port: targets.direct(mock, port)
            ),
            "nginx": lambda at: running(
                "nginx", cores.target, at / "log",
                _after(cache.nginx(store, say), lambda program, port: targets.nginx(program, at, port, provider)),
            ),
            "Envoy": lambda at: running(
                "Envoy", cores.target, at / "log",
                _after(cache.envoy(store, say), lambda program, port: targets.envoy(program, at, port, provider)),
            ),
            "proxy": lambda at: ours.proxy(at, cores.target, provider),
            "router + proxy": lambda at: ours.routed(at, cores.target, provider),
        }  # fmt: skip
        for name in plan.names:
            stage.start(name, makers[name])
        samples = measure_all(Driver(load, cores.driver, folder), stage.targets, plan.shapes, plan.effort, say)
    return summarise(stage.targets, plan.shapes, samples, stage.left_out)


def _after(program: Path, command: Callable[[Path, int], list[str]]) -> Callable[[int], list[str]]:
    return lambda port: command(program, port)
