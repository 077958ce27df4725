"""Metrics of several proxies as one page, and the end of a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_serving.local import evidence
from model_serving.local.evidence import Recent, labelled, tail

PAGE = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{entity="a } b",status="200"} 3
# HELP up Whether.
# TYPE up gauge
up 1
"""


def test_each_sample_names_its_proxy_and_families_stay_together() -> None:
    assert labelled({"one": PAGE, "two": PAGE.replace(" 3", " 4")}) == (
        "# HELP calls_total Calls.\n# TYPE calls_total counter\n"
        'calls_total{entity="a } b",status="200",proxy="one"} 3\n'
        'calls_total{entity="a } b",status="200",proxy="two"} 4\n'
        '# HELP up Whether.\n# TYPE up gauge\nup{proxy="one"} 1\nup{proxy="two"} 1\n'
    )


def test_without_a_proxy_there_are_no_metrics() -> None:
    assert labelled({}) == ""


def test_a_log_is_shown_from_the_beginning_of_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log, 10) == ""
    log.write_text("one\ntwo\n")
    assert tail(log, 100) == "one\ntwo\n"
    assert tail(log, 6) == "two\n"
    log.write_bytes(b"\xff\n")
    assert tail(log, 100) == "�\n"


async def test_the_latest_calls_are_kept_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "LOG_BYTES", 9)
    taken: list[bytes] = []

    async def onward(lines: bytes) -> None:
        taken.append(lines)

    recent = Recent(onward)
    for lines in (b"one\ntwo\n", b"three\n", b"four\n"):
        await recent.take(lines)
    assert (recent.text(), b"".join(taken)) == ("four\n", b"one\ntwo\nthree\nfour\n")
