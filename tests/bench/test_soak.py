"""The soak works: a short one against a real proxy finds nothing wrong; and what it says of memory is honest."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from tests.bench import interpreter
from tests.bench.soak import Result, soak
from tests.bench.soak_calls import KINDS
from tests.bench.trend import trend

SECONDS = 20.0


@pytest.mark.slow
def test_after_calls_of_all_kinds_and_many_changes_nothing_is_wrong_and_nothing_is_left_over() -> None:
    result = soak(SECONDS, quiet=False, python=interpreter.own(), say=lambda line: None)
    assert result.faults == []
    assert result.in_flight == 0
    assert {kind for kind, _ in result.tally.outcomes} == {kind.name for kind in KINDS}
    assert result.changes > 10 and len(result.memory) > 10


def _series(memory: Callable[[float], float], noise: float, seconds: int = 300) -> list[tuple[float, float]]:
    random = Random(1)
    return [(float(second), memory(second) + random.gauss(0, noise)) for second in range(seconds)]


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        pytest.param(_series(lambda _: 50, 0.05), "flat", id="level"),
        pytest.param(_series(lambda s: 50 - 10 * math.exp(-s / 20), 0.05), "flat", id="fills up at first, then level"),
        pytest.param(_series(lambda s: 50 + s / 3600, 0.05), "flat", id="a mebibyte an hour: an allocator's pages"),
        pytest.param(_series(lambda s: 50 + s / 60, 0.05), "grows", id="a mebibyte a minute"),
        pytest.param(_series(lambda _: 50, 20.0), "cannot tell", id="noise that would hide a growth"),
        pytest.param(_series(lambda s: 50 + s, 0.05, 60), "", id="a minute is too short to tell"),
    ],
)
def test_memory_is_called_flat_only_when_that_was_seen(samples: list[tuple[float, float]], verdict: str) -> None:
    found = trend(samples)
    assert (found.verdict if found else "") == verdict


def test_what_is_left_over_is_a_fault() -> None:
    result = Result(1.0, in_flight=2, remaining=("1000", "990"))
    assert len(result.faults) == 2
    result.tally.count(KINDS[0], "500 whole")
    assert len(result.faults) == 3
