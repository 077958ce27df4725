"""Several workers behind one port: shared work, one voice, limits divided, and a worker that is lost comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model_serving.proxy.runtime import CompileError, shared_among
from model_serving.proxy.workers_admin import merged_metrics, merged_status
from model_serving.proxy_config import CredentialReport, Limit, Policy, ProxyStatus, TokenReport
from tests.fakes.upstream import FakeUpstream
from tests.proxy.harness import Files, chat, until
from tests.proxy.processes import Child, start

MAIN = "from model_serving.cli import main; main(['proxy'])"


def status(**changes: Any) -> ProxyStatus:
    return msgspec.structs.replace(ProxyStatus("ep", "rev", 3, True, policy_version="p1", in_flight=2), **changes)


def test_one_status_for_all_workers() -> None:
    both = merged_status([status(), status(in_flight=5)])
    assert (both.ready, both.in_flight, both.policy_version, both.config_version) == (True, 7, "p1", 3)
    assert not merged_status([status(), status(ready=False, problems=["x"])]).ready
    assert merged_status([status(), status(policy_version="p2")]).policy_version == "", "not all have it yet"
    silent = merged_status([status(), None])
    assert (silent.ready, silent.problems) == (False, ["1 of 2 workers do not answer"])
    assert not merged_status([None, None]).ready


def test_a_credential_is_as_good_as_in_the_worst_worker() -> None:
    good, later = CredentialReport("s", "k", "2026-01-01"), CredentialReport("s", "k", "2026-01-02")
    missing = CredentialReport("s", "k", "", "missing")
    assert merged_status([status(credentials=[later]), status(credentials=[good])]).credentials == [good]
    assert merged_status([status(credentials=[good]), status(credentials=[missing])]).credentials == [missing]


def test_a_token_is_as_good_as_in_the_worst_worker() -> None:
    good, bad = TokenReport("t", "2026-01-02", "2026-01-03", "", 2), TokenReport("t", "2026-01-01", "", "no", 3, 3)
    other = TokenReport("other", fetches=1)
    merged = merged_status([status(tokens=[good, other]), status(tokens=[bad])]).tokens
    assert merged == [TokenReport("t", "2026-01-01", "", "no", 5, 3), other]


def test_metrics_keep_workers_apart_and_families_together() -> None:
    page = b'# HELP a Text here.\n# TYPE a counter\na_total{x="1"} 4\n# TYPE b gauge\nb 2\n'
    assert merged_metrics([page, page.replace(b"4", b"6"), b""]).splitlines() == [
        "# HELP a Text here.", "# TYPE a counter", 'a_total{worker="0",x="1"} 4', 'a_total{worker="1",x="1"} 6',
        "# TYPE b gauge", 'b{worker="0"} 2', 'b{worker="1"} 2',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "parts", "workers", "expected"),
    [
        pytest.param([Limit("user", 100)], 2, 1, 2, id="one worker changes nothing"),
        pytest.param([Limit("user", 100)], 2, 3, 6, id="each worker counts as a proxy"),
        pytest.param([Limit("user", 0)], 2, 3, 6, id="0 blocks in each"),
        pytest.param([], 2, 3, 2, id="no limits"),
    ],
)
def test_limits_are_divided_among_the_workers_of_all_proxies(
    limits: list[Limit], parts: int, workers: int, expected: int
) -> None:
    assert shared_among(Policy("v", limits=limits, limits_parts=parts), workers).limits_parts == expected


def test_a_limit_that_cannot_be_divided_is_refused_with_the_remedy() -> None:
    with pytest.raises(CompileError, match=r"limit of 5 .* 6 workers.*at least 6.*MODEL_SERVING_WORKERS"):
        shared_among(Policy("v", limits=[Limit("user", 5)], limits_parts=2), 3)


# Real processes


@pytest.fixture
def child(files: Files, upstream: FakeUpstream, tmp_path: Path) -> Iterator[Child]:
    files.usual(upstream.base)
    with start(MAIN, tmp_path / "log", ROOT=str(files.root), WORKERS="2", CONTROL_FD="") as child:
        yield child


def workers_of(child: Child) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(child.process.pid)], capture_output=True, check=False).stdout
    return [int(pid) for pid in found.split()]


async def _thread(work: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


@pytest.mark.slow
async def test_workers_share_the_calls_and_a_lost_one_comes_back(child: Child, tmp_path: Path) -> None:
    await _thread(child.wait_ready, 40)
    before = workers_of(child)
    assert len(before) == 2
    answers = [await chat(child.port) for _ in range(60)]
    assert {answer.status for answer in answers} == {200}
    page = (await _thread(child.admin_page, "/metrics"))[1]
    counted = {
        line.split('worker="')[1][0]: float(line.rsplit(" ", 1)[1])
        for line in page.splitlines()
        if line.startswith("model_serving_calls_total{")
    }
    assert set(counted) == {"0", "1"}
    assert sum(counted.values()) == 60

    os.kill(before[0], signal.SIGKILL)
    await until(lambda: len(workers_of(child)) == 2 and before[0] not in workers_of(child), 30)
    await _thread(child.wait_ready, 40)
    assert (await chat(child.port)).status == 200
    assert "a worker ended with code -9" in (tmp_path / "log").read_text()

    child.terminate()
    assert await _thread(child.wait, 30) == 0
    assert workers_of(child) == []


@pytest.mark.slow
async def test_workers_end_when_their_parent_is_killed(child: Child) -> None:
    await _thread(child.wait_ready, 40)
    workers = workers_of(child)
    child.terminate(signal.SIGKILL)
    await _thread(child.wait, 10)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
