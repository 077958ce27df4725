"""Runs cases, shows progress, and ends with 1 when something was found: `make fuzz CASES=N`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.fuzz.minimize import minimize
from tests.fuzz.stub import StubLoop
from tests.fuzz.subjects import SUBJECTS, subject_of
from tests.fuzz.verdict import Verdict

EVERY_SECONDS = 5.0
MAX_FINDINGS = 10


@dataclass
class Tally:
    """What the cases so far have shown."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    stricter: Counter[str] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Counts one case."""
        self.cases += 1
        self.accepted += verdict.accepted
        self.refused += verdict.refused
        if verdict.stricter:
            self.stricter[verdict.stricter] += 1

    def line(self, seconds: float) -> str:
        """The tally for people."""
        stricter = ", ".join(f"{count} × {what}" for what, count in self.stricter.most_common())
        rate = self.cases / max(seconds, 0.001)
        return (
            f"{self.cases} cases, {rate:.0f} per second; {self.accepted} messages accepted, {self.refused} refused; "
            f"stricter than the oracle in {self.stricter.total()} ({stricter}); {len(self.findings)} findings"
        )


async def fuzz(cases: int, seed: str, only: str = "", show: bool = True) -> Tally:
    """Runs `cases` cases of all subjects, or of `only` one."""
    tally, began = Tally(), time.monotonic()
    shown = began
    for number in range(cases):
        name = only or SUBJECTS[number % len(SUBJECTS)]
        subject, case = subject_of(name), f"{seed}/{number}"
        data = subject.make(case)
        verdict = await subject.check(data, case)
        tally.add(verdict)
        key = f"{name}: {verdict.kind}"
        if verdict.finding and key not in tally.findings:
            small = await minimize(subject, data, case, verdict.kind)
            shrunk = await subject.check(small, case)
            tally.findings[key] = f"{name}, case {case}\n  input: {small!r}\n  {shrunk.finding or verdict.finding}"
            print(f"FINDING {tally.findings[key]}", flush=True)
            if len(tally.findings) >= MAX_FINDINGS:
                break
        if show and time.monotonic() - shown > EVERY_SECONDS:
            shown = time.monotonic()
            print(tally.line(shown - began), flush=True)
    if show:
        print(f"seed {seed}: {tally.line(time.monotonic() - began)}", flush=True)
    return tally


def main() -> int:
    """Reads the options; the exit code is 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", default="", help="repeats a run; a new one otherwise")
    parser.add_argument("--only", default="", choices=["", *dict.fromkeys(SUBJECTS)])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with asyncio.Runner(loop_factory=StubLoop) as runner:
        seed = options.seed or str(random.randrange(10**9))
        print(f"seed {seed}", flush=True)
        tally = runner.run(fuzz(options.cases, seed, options.only))
    return int(bool(tally.findings))


if __name__ == "__main__":
    sys.exit(main())
