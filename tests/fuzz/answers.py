"""Answers: what a pool reports of an upstream's answer is what two other readers find, else the fetch fails.

* An answer that is reported as complete has the oracle's and h11's status and body.
* There is exactly one end: complete, complete by the end of the connection, or failed.
* A connection is used again only behind an answer that ended exactly where the bytes ended and that allows it.
"""

from __future__ import annotations

import asyncio
import re
from random import Random
from typing import cast

from model_serving.proxy.http.pool import Origin, Pool
from model_serving.proxy.http.response import Failure
from tests.fuzz import oracle, reference
from tests.fuzz.corpus import ANSWERS, STREAMS
from tests.fuzz.mutation import mutate, pieces
from tests.fuzz.requests import harmless_number
from tests.fuzz.stub import StubLoop, turn
from tests.fuzz.verdict import Verdict

_control = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]").search
ORIGIN = Origin(False, "upstream", 80)
REQUEST = b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n"


class Recorder:
    """Listens to one fetch."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.ends: list[str] = []
        self.wrong = ""

    def response_whole(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.response_started(status, headers, b"")
        self.response_ended(body, framed=True)

    def response_started(self, status: int, headers: dict[bytes, bytes], data: bytes) -> None:
        if self.status or self.ends:
            self.wrong = "started twice or after the end"
        self.status = status
        self.body = data

    def response_data(self, data: bytes) -> None:
        if self.status < 200 or self.ends:
            self.wrong = "data before the start or after the end"
        self.body += data

    def response_ended(self, data: bytes, framed: bool) -> None:
        if data:
            self.response_data(data)
        self.ends.append("framed" if framed else "close")

    def response_failed(self, failure: Failure) -> None:
        self.ends.append("failed")


class Answers:
    """Mutated answers at a pool."""

    name = "answers"

    def make(self, seed: str) -> bytes:
        random = Random(seed)
        data = random.choice(ANSWERS + STREAMS) + (random.choice(ANSWERS) if random.random() < 0.1 else b"")
        return mutate(data, ANSWERS, random)

    async def check(self, data: bytes, seed: str) -> Verdict:
        random = Random(seed + "cuts")
        try:
            return await self._check(data, pieces(data, random), random.choice(("open", "ends", "breaks")))
        except Exception as error:
            return Verdict(finding=f"exception {type(error).__name__}: {error}")

    async def _check(self, data: bytes, parts: list[bytes], ending: str) -> Verdict:
        loop = cast(StubLoop, asyncio.get_running_loop())
        before, loop.dialled = loop.dialled, []
        pool = Pool(loop, lambda origin, address: "")
        recorder = Recorder()
        fetch = pool.send(ORIGIN, REQUEST, recorder)
        await turn()
        transport = loop.dialled[0]
        for part in parts:
            transport.arrive(part)
            transport.settle()
        if ending != "open":
            transport.hang_up(ConnectionResetError() if ending == "breaks" else None)
        verdict = judge(data, ending, recorder)
        if not recorder.ends:
            fetch.abort()
            transport.settle()
        reused = await self._is_used_again(pool, loop)
        if reused and not verdict.finding:
            verdict.finding = _why_not_again(data)
        pool.close()
        loop.dialled = before
        return verdict

    async def _is_used_again(self, pool: Pool, loop: StubLoop) -> bool:
        fetch = pool.send(ORIGIN, REQUEST, Recorder())
        await turn()
        fetch.abort()
        loop.dialled[-1].settle()
        return len(loop.dialled) == 1


def judge(data: bytes, ending: str, recorder: Recorder) -> Verdict:
    """Compares what a listener heard of `data` with what the oracle and h11 find."""
    expected = oracle.read_answer(data, ended=ending == "ends")
    message = expected.messages[0] if expected.messages else None
    end = recorder.ends[0] if recorder.ends else ""
    verdict = Verdict(int(end in ("framed", "close")), int(end == "failed"))
    found = b"%d" % recorder.status, recorder.body, end == "framed"
    if recorder.wrong or len(recorder.ends) > 1:
        verdict.finding = f"wrong order: {recorder.wrong or recorder.ends}"
    elif verdict.accepted and (message is None or found != (message.start[0], message.body, message.framed)):
        verdict.finding = f"unlike the oracle: {found}, which is {message} ({expected.fault or 'no fault'})"
    elif verdict.accepted and (wrong := _unlike_h11(data, ending == "ends", found)):
        verdict.finding = f"unlike h11: {wrong}"
    elif not end and (message is not None or expected.fault or ending != "open"):
        verdict.finding = f"never ends: {expected.fault or message or ending}"
    elif end == "failed" and message is not None:
        verdict.stricter = "failed"
    return verdict


def _unlike_h11(data: bytes, ended: bool, found: tuple[bytes, bytes, bool]) -> str:
    reading = reference.read_answer(data, ended)
    if not reading.messages:
        if harmless(data, reading.fault):
            return ""
        return f"{found}, which is none: {reading.fault}"
    message = reading.messages[0]
    return "" if (message.start[0], message.body) == found[:2] else f"{found}, which is {message}"


def harmless(data: bytes, fault: str) -> str:
    """Why we may take an answer that h11 does not; empty when we may not."""
    first = data.lstrip(b"\r\n").partition(b"\r\n")[0]
    if _control(first):
        return "nobody reads a reason"
    if first.startswith((b"HTTP/0.9", b"HTTP/2.0")):
        return "it is read as HTTP/1.0"
    if fault == "head: no response line received":
        return "line ends between an interim answer and the final one move no end"
    if fault.startswith("head: ") and first.partition(b" ")[2].startswith(b"1"):
        return "nobody reads the headers of an interim answer"
    return harmless_number(data, fault)


def _why_not_again(data: bytes) -> str:
    expected = oracle.read_answer(data, ended=False)
    if not expected.messages or expected.messages[0].last:
        return "used again: the answer ends the connection"
    return f"used again: there is more, {expected.rest[:60]!r}" if expected.rest.strip(b"\r\n") else ""
