"""`make test`: the whole suite or a part, with a last line that counts, for people and for pipelines.

Runs in a few pytest processes, quick parts first, so that a slip shows early; the real clusters come last. What the
tests of real clients need is installed meanwhile.
With ``MODEL_SERVING_NO_SKIPS`` set, a skipped test fails the run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIDE_BY_SIDE = ["-n", "4"]
"""Most of these tests wait for sockets and processes, so that more of them than cores run at a time."""
OWN_STAGES = ("bench", "clients", "cluster", "local")
STAGES: list[tuple[str, list[str]]] = [
    (
        "unit, golden and sockets",
        ["tests", *SIDE_BY_SIDE, *(part for name in OWN_STAGES for part in ("--ignore", f"tests/{name}"))],
    ),
    ("clients", ["tests/clients", "-n", "3"]),
    ("local platform and benchmark", ["tests/local", "tests/bench"]),
    ("real Kubernetes", ["tests/cluster"]),
]
WORDS = ("passed", "failed", "skipped", "error")


def main(part: list[str]) -> int:
    """Runs the stages, or only `part`; the exit code is 0 if nothing failed."""
    totals: Counter[str] = Counter()
    worst = 0
    environments = None if part else subprocess.Popen([sys.executable, "-m", "tests.clients.environments"], cwd=ROOT)
    for title, arguments in [("part", part)] if part else STAGES:
        print(f"==> {title}", flush=True)
        started = time.monotonic()
        code, counts = run(arguments)
        totals += counts
        worst = worst or code
        print(f"==> {title}: {time.monotonic() - started:.0f} s", flush=True)
    if environments is not None:
        environments.wait()
    failed = totals["failed"] + totals["error"]
    print(f"{totals['passed']} passed, {failed} failed, {totals['skipped']} skipped", flush=True)
    skips_forbidden = os.environ.get("MODEL_SERVING_NO_SKIPS") and totals["skipped"] > 0
    return worst or int(failed > 0 or totals["passed"] == 0 or bool(skips_forbidden))


def run(arguments: list[str]) -> tuple[int, Counter[str]]:
    """One pytest process: its exit code and what its last line counted. Output is passed on as it comes."""
    command = [sys.executable, "-m", "pytest", "-q", "--color=yes" if sys.stdout.isatty() else "--color=no", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        if any(word in line for word in WORDS):
            last = line
    plain = re.sub(r"\x1b\[[0-9;]*m", "", last)
    counts = Counter(
        {word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", plain)}
    )
    return process.wait(), counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
