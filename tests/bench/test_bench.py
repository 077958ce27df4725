"""The benchmark works: its programs compile, each of our targets answers, and the counts are plausible. No timing."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from model_serving.proxy.providers.registry import PROVIDERS
from tests.bench.__main__ import main, names_of
from tests.bench.interpreter import OWN, SETTING
from tests.bench.peers.base import Place
from tests.bench.peers.registry import ABSENT, PEERS
from tests.bench.report import as_json
from tests.bench.rounds import Effort, Sample
from tests.bench.run import NAMES, Plan, run
from tests.bench.summary import Budget, Summary, ratio
from tests.bench.translation import compare, table
from tests.bench.vendors import VENDORS
from tests.bench.workload import BURST, SHAPES, SPARSE, TYPICAL, Shape

SHORT = Plan(Effort(1, warm_seconds=0.5, seconds=2.0), ("direct", "proxy", "router + proxy"), (TYPICAL, SPARSE, BURST))

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: the load generator is written in C")


@pytest.fixture(scope="module")
def summary() -> Summary:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SETTING, OWN)  # nothing is to be installed for a test
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


@pytest.mark.slow
@needs_gcc
def test_each_vendor_that_is_translated_answers_all_calls_and_is_compared_with_passing_through() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SETTING, OWN)
        found = compare(Effort(1, warm_seconds=0.2, seconds=0.6), lambda line: None, (TYPICAL, BURST))
    assert found.faults == []
    assert {times.vendor for times in found.times} == {"proxy", *VENDORS}
    assert all(times.ratio == 1.0 for times in found.times if times.vendor == "proxy")
    shown = io.StringIO()
    Console(width=200, file=shown).print(table(found))
    assert all(vendor in shown.getvalue() for vendor in VENDORS)


def test_a_mock_vendor_is_of_each_provider_whose_api_is_translated() -> None:
    passed_through = {"openai", "custom", "databricks-model-serving"}
    no_streams = {"ai21labs"}
    assert {vendor.provider for vendor in VENDORS.values()} == set(PROVIDERS) - passed_through - no_streams


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_body_has_the_size_that_its_name_says(shape: Shape) -> None:
    body = shape.body()
    assert shape.body_bytes - 8 <= len(body) <= shape.body_bytes
    assert json.loads(body).get("stream", False) is bool(shape.stream)


def test_a_target_that_does_not_exist_is_refused_by_name() -> None:
    answer = CliRunner().invoke(main, ["--target", "apache"])
    assert answer.exit_code == 2
    assert "apache" in answer.output


@pytest.mark.parametrize(
    ("peers", "measured"),
    [
        pytest.param("", set(NAMES), id="no peer named: the quick set"),
        pytest.param("all", {*NAMES, *PEERS}, id="all: every gateway"),
        pytest.param("smg, LiteLLM", {*NAMES, "smg", "LiteLLM"}, id="names: those besides"),
    ],
)
def test_which_gateways_are_measured(peers: str, measured: set[str]) -> None:
    assert set(names_of(peers, ())) == measured


def test_a_peer_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    answer = CliRunner().invoke(main, ["--peers", "apache"])
    assert answer.exit_code == 2
    assert "apache" in answer.output and "LiteLLM" in answer.output


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_pointed_at_the_provider_and_at_its_own_port(name: str, tmp_path: Path) -> None:
    peer = PEERS[name]
    command = peer.command(Path("/bin/peer"), Place(tmp_path, port=40001, spare=40002, provider=40003))
    said = " ".join([*command, *(path.read_text() for path in tmp_path.iterdir())])
    assert "40001" in said and "40003" in said
    assert peer.does and peer.speech().tokens


def test_gateways_that_cannot_be_had_are_named_with_a_reason() -> None:
    assert ABSENT and all(ABSENT.values())


@pytest.mark.parametrize(
    ("budget", "met"),
    [
        pytest.param(Budget("cpu", 2.0, "×", 1.9), True, id="at most, below"),
        pytest.param(Budget("cpu", 2.0, "×", 2.1), False, id="at most, above"),
        pytest.param(Budget("cpu", 2.0, "×", 2.1, at_least=True), True, id="at least, above"),
        pytest.param(Budget("cpu", 2.0, "×", 1.9, at_least=True), False, id="at least, below"),
        pytest.param(Budget("cpu", 2.0, "×", None), None, id="not measured"),
    ],
)
def test_a_budget_is_met_or_missed_or_not_measured(budget: Budget, met: bool | None) -> None:
    assert budget.met is met


def test_a_ratio_is_the_median_of_the_ratios_of_rounds() -> None:
    costs = {"nginx": [10.0, 10.0, 100.0], "proxy": [20.0, 30.0, 210.0]}
    samples = [_sample(name, number, cost) for name, found in costs.items() for number, cost in enumerate(found)]
    assert ratio(samples, "1 KB, 32", "proxy", "nginx") == pytest.approx(2.1)
    assert ratio(samples, "1 KB, 32", "proxy", "Envoy") is None


def _sample(target: str, number: int, cost_us: float) -> Sample:
    return Sample(
        target=target,
        shape="1 KB, 32",
        round=number,
        units=1000,
        failed=0,
        first_failure=0,
        seconds=1.0,
        cpu_seconds=cost_us / 1e3,
        p50_us=0.0,
        p99_us=0.0,
        resident_bytes=0,
    )
