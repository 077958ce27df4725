"""The benchmark works: its programs compile, each of our targets answers, and the counts are plausible. No timing."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from tests.bench.__main__ import main
from tests.bench.report import as_json
from tests.bench.rounds import Effort
from tests.bench.run import Plan, run
from tests.bench.summary import Summary
from tests.bench.workload import BURST, SHAPES, SPARSE, TYPICAL, Shape

SHORT = Plan(Effort(1, warm_seconds=0.5, seconds=2.0), ("direct", "proxy", "router + proxy"), (TYPICAL, SPARSE, BURST))

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: the load generator is written in C")


@pytest.fixture(scope="module")
def summary() -> Summary:
    return run(SHORT, lambda line: None)


@pytest.mark.slow
@needs_gcc
def test_all_calls_succeed_and_all_are_counted(summary: Summary) -> None:
    assert not summary.faults
    assert [row.name for row in summary.rows] == list(SHORT.names)
    for row in summary.rows:
        assert all(figure.units > 0 and figure.cost_us > 0 for figure in row.figures.values()), row.name
        assert row.start_seconds > 0 and row.idle_mib > 0


@pytest.mark.slow
@needs_gcc
def test_sparse_streams_bring_at_most_an_event_per_pause_and_caller(summary: Summary) -> None:
    at_most = SPARSE.callers / 0.010
    for row in summary.rows:
        assert row.figures[SPARSE.name].units_per_second < at_most * 1.5, row.name


@pytest.mark.slow
@needs_gcc
def test_what_programs_get_is_json_with_figures_and_budgets(summary: Summary) -> None:
    found = json.loads(as_json(summary))
    assert {row["name"] for row in found["rows"]} == set(SHORT.names)
    assert {budget["met"] for budget in found["budgets"]} <= {True, False, None}
    assert found["faults"] == []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_body_has_the_size_that_its_name_says(shape: Shape) -> None:
    body = shape.body()
    assert shape.body_bytes - 8 <= len(body) <= shape.body_bytes
    assert json.loads(body).get("stream", False) is bool(shape.stream)


def test_a_target_that_does_not_exist_is_refused_by_name() -> None:
    answer = CliRunner().invoke(main, ["--target", "apache"])
    assert answer.exit_code == 2
    assert "apache" in answer.output
