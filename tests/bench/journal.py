"""What it costs to see a call: µs of CPU per `Journal.ended`, by part, and per page. `python -m tests.bench.journal`.

The least of many short rounds, in one process, with the log's thread included; the log goes to /dev/null.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from opentelemetry.sdk.trace import TracerProvider

from model_serving.proxy.access_log import AccessLog
from model_serving.proxy.auth import Principal
from model_serving.proxy.call import CHAT, Call
from model_serving.proxy.course import Course
from model_serving.proxy.http.exchange import Request
from model_serving.proxy.journal import Journal, record_of
from model_serving.proxy.metrics import Metrics
from model_serving.proxy.otel import OtelTracer
from model_serving.proxy.runtime import compile_runtime
from model_serving.proxy.stamps import Stamps
from model_serving.proxy.usage import Usage
from model_serving.proxy_config import CredentialFile, Policy, ProxyConfig, Target

ROUNDS, CALLS = 30, 2000


def cost(work: Callable[[], object], calls: int = CALLS) -> float:
    """µs per call of `work`, the least of all rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, time.process_time() - begin)
    return best / calls * 1e6


def course(pieces: int) -> Course:
    """A typical call that has ended."""
    key = {"openai_api_key": CredentialFile("vendor", "token")}
    target = Target("gpt", "openai", CHAT, "gpt-real", credentials=key)
    runtime = compile_runtime(ProxyConfig("ep", 3, "rev", [target]), Policy("p1"))
    made = Course(Request(b"POST", b"/", {b"user-agent": b"OpenAI/Python 2.0"}, b"x" * 1000, "1.1"), 99.0, b"0a1b2c-1f")
    made.runtime, made.target = runtime, runtime.targets[0]
    made.principal, made.call = Principal("ada@example.com"), Call(CHAT, {}, pieces > 0)
    made.usage, made.status, made.pieces, made.first_byte = Usage(120, 40), 200, pieces, 99.2
    return made


def ended(journal: Journal, one: Course) -> float:
    """The whole of it, at moments that differ."""
    moment = [100.0]

    def end() -> None:
        moment[0] += 0.0001
        journal.ended(one, moment[0])

    journal.tick(100.0, 1.8e9)
    return cost(end)


def main() -> None:
    """Prints the table."""
    sink = os.open(os.devnull, os.O_WRONLY)
    whole, streamed, stamps = course(0), course(30), Stamps()
    stamps.tick(100.0, 1.8e9)
    tracer = OtelTracer(TracerProvider())

    def traced() -> None:
        tracer.began(whole)
        tracer.ended(whole, 100.0)

    metrics = Metrics()
    metrics.minutes.begin("gpt").count(streamed, 100.0)
    many = Metrics()
    for number in range(20):
        many.minutes.begin(f"e{number}").count(streamed, 100.0)
    rows = {
        "Journal.ended, answer, everything but traces": ended(Journal(Metrics(), AccessLog(sink)), whole),
        "Journal.ended, stream, everything but traces": ended(Journal(Metrics(), AccessLog(sink)), streamed),
        "  of it metrics and minutes, answer": ended(Journal(Metrics()), whole),
        "  of it metrics and minutes, stream": ended(Journal(Metrics()), streamed),
        "  of it the record": cost(lambda: record_of(whole, "", 100.0)),
        "  of it the time as text": cost(lambda: stamps.of(100.123)),
        "a trace": cost(traced, 200),
        "a page of metrics, 1 entity": cost(metrics.render, 20),
        "a page of metrics, 20 entities": cost(many.render, 5),
    }
    for name, microseconds in rows.items():
        print(f"{name:48} {microseconds:8.2f} µs")


if __name__ == "__main__":
    main()
