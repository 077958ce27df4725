"""`make test`: the whole suite or a part, with a last line that counts, for people and for pipelines.

Runs in a few pytest processes, quick parts first, so that a slip shows early; then the real clusters beside the rest,
because they wait most of their time. What the tests of real clients need is installed meanwhile.
With ``MODEL_SERVING_NO_SKIPS`` set, a skipped test fails the run.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIDE_BY_SIDE = ["-n", "4"]
"""Most of these tests wait for sockets and processes, so that more of them than cores run at a time."""
OWN_STAGES = ("bench", "clients", "cluster", "local", "proxy")
Stage = tuple[str, list[str]]
FIRST: Stage = ("control plane and REST", ["tests", *SIDE_BY_SIDE, *(f"--ignore=tests/{name}" for name in OWN_STAGES)])
FOREGROUND: list[Stage] = [
    ("data plane", ["tests/proxy", *SIDE_BY_SIDE]),
    ("clients", ["tests/clients", "-n", "3"]),
    ("local platform and benchmark", ["tests/local", "tests/bench"]),
]
BACKGROUND: list[Stage] = [("real Kubernetes", ["tests/cluster"])]
"""Waits for clusters most of its time: runs beside the foreground, and its output follows."""
WORDS = ("passed", "failed", "skipped", "error")


def main(part: list[str]) -> int:
    """Runs the stages, or only `part`; the exit code is 0 if nothing failed."""
    tally = Tally()
    if part:
        tally.run([("part", part)], say)
        return tally.report()
    environments = subprocess.Popen([sys.executable, "-m", "tests.clients.environments"], cwd=ROOT)
    tally.run([FIRST], say)
    lines: queue.Queue[str | None] = queue.Queue()
    beside = threading.Thread(target=lambda: (tally.run(BACKGROUND, lines.put), lines.put(None)))
    beside.start()
    tally.run(FOREGROUND, say)
    for line in iter(lines.get, None):
        say(line)
    beside.join()
    environments.wait()
    return tally.report()


def say(line: str) -> None:
    """Prints a line at once, its end included."""
    print(line, end="", flush=True)


class Tally:
    """Counts over all stages."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._worst = 0

    def run(self, stages: list[Stage], say: Callable[[str], None]) -> None:
        """Runs stages one after the other."""
        for title, arguments in stages:
            say(f"==> {title}\n")
            started = time.monotonic()
            code, counts = run(arguments, say)
            self._counts += counts
            self._worst = self._worst or code
            say(f"==> {title}: {time.monotonic() - started:.0f} s\n")

    def report(self) -> int:
        """Says the sums; the exit code."""
        counts = self._counts
        failed = counts["failed"] + counts["error"]
        say(f"{counts['passed']} passed, {failed} failed, {counts['skipped']} skipped\n")
        skips_forbidden = os.environ.get("MODEL_SERVING_NO_SKIPS") and counts["skipped"] > 0
        return self._worst or int(failed > 0 or counts["passed"] == 0 or bool(skips_forbidden))


def run(arguments: list[str], say: Callable[[str], None]) -> tuple[int, Counter[str]]:
    """One pytest process: its exit code and what its last line counted. Output is passed on as it comes."""
    command = [sys.executable, "-m", "pytest", "-q", "--color=yes" if sys.stdout.isatty() else "--color=no", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        say(line)
        if any(word in line for word in WORDS):
            last = line
    plain = re.sub(r"\x1b\[[0-9;]*m", "", last)
    counts = Counter(
        {word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", plain)}
    )
    return process.wait(), counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
