"""The micro benchmark works: each of its calls is answered as expected, and what it counts is plausible. No timing."""

from __future__ import annotations

from click.testing import CliRunner

from tests.bench.hot_path import NAMES, main


def test_all_cases_are_measured_and_profiled() -> None:
    answer = CliRunner().invoke(main, ["--repeats", "1", "--profile"])
    assert answer.exit_code == 0, answer.output


def test_a_case_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    answer = CliRunner().invoke(main, ["--case", "xml"])
    assert answer.exit_code == 2
    assert all(name in answer.output for name in NAMES)
