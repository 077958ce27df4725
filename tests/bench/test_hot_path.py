"""The micro benchmark works: each of its calls is answered as expected, and what it counts is plausible. No timing."""

from __future__ import annotations

import asyncio
import gc

import pytest
from click.testing import CliRunner

from tests.bench.hot_path import NAMES, cases, main, proxy
from tests.bench.stubs import StubLoop

CALLS = 50


def test_all_cases_are_measured_and_profiled() -> None:
    answer = CliRunner().invoke(main, ["--repeats", "1", "--profile"])
    assert answer.exit_code == 0, answer.output


@pytest.mark.parametrize(
    ("name", "lost", "both"),
    [
        pytest.param("json-1k", False, False, id="a call"),
        pytest.param("event", False, False, id="a stream"),
        pytest.param("refused-401", False, False, id="a refused call"),
        pytest.param("event", True, False, id="a client that leaves"),
        pytest.param("event", True, True, id="a provider that cuts a stream"),
    ],
)
def test_nothing_is_left_for_the_garbage_collector(name: str, lost: bool, both: bool) -> None:
    """The data plane runs the collector rarely: what only it can free stays for minutes."""
    (case,) = (case for case in cases() if case.name == name)

    async def garbage() -> int:
        async with proxy(case) as made:
            gc.collect()
            gc.disable()
            for _ in range(CALLS):
                await (made.lose(case, both) if lost else made.call(case))
            gc.enable()
            return gc.collect()

    with asyncio.Runner(loop_factory=StubLoop) as runner:
        assert runner.run(garbage()) < CALLS  # a few circles of the test's own, none per call


def test_a_case_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    answer = CliRunner().invoke(main, ["--case", "xml"])
    assert answer.exit_code == 2
    assert all(name in answer.output for name in NAMES)
