"""Measuring: every target with every shape, round after round, so that what disturbs the machine hits all alike."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.machine import Unavailable, on_core, resident_bytes
from tests.bench.targets import Target
from tests.bench.workload import Shape

GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured: rounds, and the seconds before and within each window."""

    rounds: int
    warm_seconds: float
    seconds: float


SLOW = Effort(rounds=2, warm_seconds=1.0, seconds=1.5)
"""Of targets that answer a hundred calls a second."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one window showed. `units`: calls, events or streams, by shape; `resident_bytes` while under load."""

    target: str
    shape: str
    round: int
    units: int
    failed: int
    first_failure: int
    seconds: float
    cpu_seconds: float
    p50_us: float
    p99_us: float
    resident_bytes: int

    @property
    def cost_us(self) -> float:
        """CPU per unit in microseconds."""
        return self.cpu_seconds / max(self.units, 1) * 1e6


class Driver:
    """The load generator on its core."""

    def __init__(self, program: Path, core: int, folder: Path) -> None:
        self._program = program
        self._core = core
        self._folder = folder

    def measure(self, target: Target, shape: Shape, effort: Effort, number: int) -> Sample:
        """One window. Unavailable when the generator fails."""
        body = self._folder / "body.json"
        body.write_bytes(shape.body(target.speech.model))
        tokens = self._folder / "tokens.txt"
        tokens.write_text("\n".join(target.speech.tokens) + "\n")
        enough = 0 if shape.stream == "sparse" else shape.callers  # events are counted, not whole streams
        times = [str(effort.warm_seconds), str(effort.seconds), str(enough)]
        call = [str(target.port), target.speech.path, str(body), str(tokens), str(shape.callers)]
        command = [str(self._program), *call, *times, *map(str, target.pids)]
        with on_core(self._core):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            time.sleep(effort.warm_seconds + effort.seconds / 2)
            resident = resident_bytes(target.pids)
            output, errors = process.communicate(timeout=GRACE_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise Unavailable(f"the load generator failed at {target.name}: {errors.decode().strip()}")
        return _sample(target, shape, number, resident, json.loads(output))


def _sample(target: Target, shape: Shape, number: int, resident: int, found: dict[str, Any]) -> Sample:
    return Sample(
        target=target.name,
        shape=shape.name,
        round=number,
        units=found["events"] if shape.stream == "sparse" else found["calls"],
        failed=found["failed"],
        first_failure=found["first_failure"],
        seconds=found["seconds"],
        cpu_seconds=found["cpu_seconds"],
        p50_us=found["p50_us"],
        p99_us=found["p99_us"],
        resident_bytes=resident,
    )


def measure_all(
    driver: Driver, targets: Sequence[Target], shapes: Sequence[Shape], effort: Effort, say: Callable[[str], None]
) -> list[Sample]:
    """All windows: in each round each shape, and for each shape all targets one after the other."""
    found: list[Sample] = []
    for number in range(effort.rounds):
        for shape in shapes:
            say(f"round {number + 1} of {effort.rounds}: {shape.name}")
            turn = number % len(targets)
            for target in (*targets[turn:], *targets[:turn]):
                if number < _rounds(target, effort):
                    found.append(driver.measure(target, shape, _windows(target, effort), number))
    return found


def _rounds(target: Target, effort: Effort) -> int:
    return min(effort.rounds, SLOW.rounds) if target.slow else effort.rounds


def _windows(target: Target, effort: Effort) -> Effort:
    return SLOW if target.slow else effort
