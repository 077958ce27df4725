"""Whole calls: a proxy with its pipeline between mutated clients and mutated upstreams.

* Each thing that goes upstream is exactly one well-formed request; its body is what the client framed, and no byte of
  one call is part of another.
* A client's 200 has the body of a complete, well-framed, valid answer, else it is an error; a stream has an end mark
  only when the upstream's had one.
* Afterwards nothing is under way, connected, buffered or reserved.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, cast

from model_serving.proxy.app import ProxyService
from model_serving.proxy.control import Message as Told
from model_serving.proxy.control import User
from model_serving.proxy.router_app import RouterService
from model_serving.proxy.settings import ProxySettings, RouterSettings
from model_serving.proxy_config import Entry, Grant, Limit
from tests.fuzz import oracle
from tests.fuzz.corpus import ANSWERS, CALLS, STREAMS
from tests.fuzz.mutation import mutate, pieces
from tests.fuzz.oracle import Message
from tests.fuzz.stub import StubLoop, StubTransport, turn
from tests.fuzz.verdict import Verdict
from tests.proxy.harness import TOKEN, Files

MARK = b"data: [DONE]"
MANY = 10**12
ROUNDS = 12


class FoundError(Exception):
    """A property does not hold; the text is the finding."""


class Calls:
    """Mutated clients and upstreams around one proxy, which lives as long as the fuzzer."""

    name = "calls"
    strict = True
    """What is passed on is JSON, and a stream that lacks its end mark ends in an error."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._service = self._make_service()

    def _make_service(self) -> ProxyService | RouterService:
        files = Files(Path(self._folder.name))
        limits = [Limit("user", MANY), Limit("endpoint", tokens=MANY)]
        files.usual("http://127.0.0.1:9/v1", limits=limits)
        return ProxyService(ProxySettings(root=files.root))

    def make(self, seed: str) -> bytes:
        random = Random(seed)
        count = random.choice((1, 1, 2, 3))
        calls = [random.choice(CALLS).replace(b"hello", b"hell%d" % number) for number in range(count)]
        return mutate(b"".join(calls), CALLS, random) if random.random() < 0.7 else b"".join(calls)

    async def check(self, data: bytes, seed: str) -> Verdict:
        self._service.tick(asyncio.get_running_loop().time(), time.time())
        case = Case(self._service, data, Random(seed + "answers"), self.strict)
        verdict = Verdict()
        try:
            await case.run()
        except FoundError as error:
            verdict.finding = str(error)
        except Exception as error:
            verdict.finding = f"exception {type(error).__name__}: {error}"
        await case.end()
        verdict.accepted, verdict.refused = case.good, case.bad
        verdict.finding = verdict.finding or case.left()
        return verdict


class Routed(Calls):
    """The same around a router, whose upstreams are proxies: it believes them, and passes on what they say."""

    name = "routed"
    strict = False

    def _make_service(self) -> ProxyService | RouterService:
        service = RouterService(RouterSettings())
        users = {hashlib.sha256(TOKEN.encode()).hexdigest(): User("ada", [])}
        entry = Entry(addresses=["127.0.0.1:9"], grants=[Grant("user", "ada", "CAN_QUERY")])
        service.message(Told(router_key="shared", users=users, table={"ep": entry}))
        return service


class Case:
    """One client's connection, and the upstream connections that its calls need."""

    def __init__(self, service: ProxyService | RouterService, data: bytes, random: Random, strict: bool) -> None:
        self.good = self.bad = 0
        self._service = service
        self._data = data
        self._strict = strict
        self._random = random
        self._loop = cast(StubLoop, asyncio.get_running_loop())
        self._expected = oracle.read_requests(data).messages
        self._answers: list[tuple[bytes, bool]] = []
        """What the upstream has answered so far, and whether it then closed."""
        self._client = StubTransport(service.data.connection())

    async def run(self) -> None:
        """Sends everything, answers what comes upstream, then looks at what the client got. FoundError."""
        for part in pieces(self._data, self._random):
            self._client.arrive(part)
            self._client.settle()
        if self._random.random() < 0.1:
            await turn(self._random.randrange(8))
            self._client.hang_up()
        for _ in range(ROUNDS):
            await turn(4)
            self._client.settle()
            if not self._serve():
                break
        self._check_client()

    async def end(self) -> None:
        """Everybody leaves."""
        self._client.hang_up()
        await turn(4)
        for transport in self._loop.dialled:
            transport.settle()
        self._loop.dialled = [transport for transport in self._loop.dialled if not transport.lost]

    def left(self) -> str:
        """What was not given back."""
        server = self._service.data
        limiter = getattr(self._service.pipeline, "limiter", None)
        if limiter is not None and limiter.reserved:
            return f"leak: {limiter.reserved} tokens reserved"
        if self._service.pipeline.in_flight or server.connections or server.buffered:
            return f"leak: {len(self._service.pipeline.in_flight)} calls, {len(server.connections)} connections"
        if len(self._loop.dialled) > 2:  # one client calls once at a time
            return f"leak: {len(self._loop.dialled)} connections to upstreams"
        return ""

    def _serve(self) -> bool:
        """Answers the requests that have come upstream; whether there were any."""
        served = False
        for transport in list(self._loop.dialled):
            request = bytes(transport.sent[transport.seen :])
            if not request:
                continue
            served = True
            transport.seen = len(transport.sent)
            self._check_upstream(request)
            self._answer(transport)
        return served

    def _check_upstream(self, request: bytes) -> None:
        reading = oracle.read_requests(request)
        if len(reading.messages) != 1 or reading.fault or reading.rest or reading.messages[0].last:
            raise FoundError(f"not one request upstream: {request!r}")
        content = _content(reading.messages[0])
        while self._expected:
            if _content(self._expected.pop(0)) == content:
                return
        raise FoundError(f"upstream got what no client framed: {request!r}")

    def _answer(self, transport: StubTransport) -> None:
        random = self._random
        answer = random.choice(ANSWERS + STREAMS)
        if random.random() < 0.6:
            answer = mutate(answer, ANSWERS, random)
        for part in pieces(answer, random):
            if len(transport.sent) > transport.seen:
                break  # the next call is under way: whatever comes now is its answer, which nobody could tell
            transport.arrive(part)
            transport.settle()
        closes = random.random() < 0.5 or not oracle.read_answer(answer, ended=False).messages
        if closes:
            transport.hang_up()
        self._answers.append((answer, closes))

    def _check_client(self) -> None:
        """Each answer of the client is proper HTTP and has its reason."""
        rest, answers = bytes(self._client.sent), iter(self._answers)
        while rest:
            reading = oracle.read_answer(rest, ended=True)
            if not reading.messages:
                if reading.fault or reading.rest:
                    raise FoundError(f"the client gets no HTTP: {reading.fault} {rest[:200]!r}")
                return
            rest = reading.rest
            message = reading.messages[0]
            if message.start == (b"200",):
                self.good += 1
                self._check_good(message, answers)
            else:
                self.bad += 1

    def _check_good(self, message: Message, answers: Any) -> None:
        """Some answer of an upstream, in order, is the reason for this 200."""
        streamed = message.headers.get(b"content-type", b"").startswith(b"text/event-stream")
        for answer, closes in answers:
            found = oracle.read_answer(answer, ended=closes).messages
            if found and found[0].start[0].startswith(b"2") and found[0].body == message.body:
                if self._strict and not streamed:
                    json.loads(message.body)
                return
            if streamed and b"text/event-stream" in answer.lower():
                whole = b"[DONE]" in oracle.body_so_far(answer)
                if whole if MARK in message.body else not self._strict or b'"error"' in message.body:
                    return
        raise FoundError(f"no upstream gave what the client got: {message}, of {self._answers}")


def _content(message: Message) -> Any:
    """A body without what the proxy changes."""
    try:
        fields = json.loads(message.body)
    except ValueError:
        return None
    return {name: value for name, value in fields.items() if name != "model"} if isinstance(fields, dict) else None
