"""Requests: what a server hands to its handler is what two other readers find, whatever arrives and however cut.

* Each request that is served stands at the same place of the same bytes for the oracle and for h11, with the same
  method, target, headers and body.
* What the oracle refuses is refused once, and the connection ends. After a request that ends the connection nothing
  is served.
* Answers go out in order, one for each request; nothing is left behind: no connection, no buffered byte.
* It makes no difference how the bytes are cut, nor when the handler answers, nor how slowly the client reads.
"""

from __future__ import annotations

from random import Random

from model_serving.proxy.http.exchange import Exchange
from model_serving.proxy.http.server import Server
from model_serving.proxy.refusals import refusal_body
from tests.fuzz import oracle, reference
from tests.fuzz.corpus import REQUESTS
from tests.fuzz.mutation import mutate, pieces
from tests.fuzz.oracle import Message, Reading, plain
from tests.fuzz.stub import StubTransport
from tests.fuzz.verdict import Verdict

Served = tuple[bytes, bytes, dict[bytes, bytes], bytes]


class Conversation:
    """One connection to a server of its own. `late`: the handler answers only when all bytes have arrived.

    `slow`: the client takes each answer only when nothing else moves.
    """

    def __init__(self, parts: list[bytes], late: bool, slow: bool = False, tls: bool = False) -> None:
        self.served: list[Served] = []
        self._late: list[Exchange] = []
        self._is_late = late
        self.server = Server(self._handle, refusal_body)
        self.server.sweep(1.0, 0.0)
        self.transport = StubTransport(self.server.connection())
        self.transport.slow, self.transport.tls = slow, tls
        for part in parts:
            self.transport.arrive(part)
            self._settle()
        while self._late:
            self._answer(self._late.pop(0))
            self._settle()
        self.ended = self.transport.finished or self.transport.is_closing()
        self.sent = bytes(self.transport.sent)
        self.transport.hang_up()

    def _settle(self) -> None:
        """The loop turns, and a slow reader reads, until nothing moves any more."""
        seen = -1
        while seen != len(self.transport.sent):
            seen = len(self.transport.sent)
            self.transport.settle()
            self.transport.drain()
            self.transport.settle()

    def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        self.served.append((request.method, request.target, plain(request.headers), bytes(request.body)))
        if self._is_late:
            self._late.append(exchange)
        else:
            self._answer(exchange)

    def _answer(self, exchange: Exchange) -> None:
        exchange.respond(200, b"", b"" if exchange.request.method == b"HEAD" else b"fine")

    def statuses(self) -> list[bytes]:
        """The answers on the wire; ValueError when they are not proper HTTP."""
        found, rest = [], self.sent
        while rest:
            reading = oracle.read_answer(rest, ended=False)
            if not reading.messages:
                if reading.fault or reading.rest:
                    raise ValueError(f"{reading.fault or 'half an answer'} at {reading.rest[:60]!r}")
                break
            found.append(reading.messages[0].start[0])
            rest = reading.rest
        return found

    def left(self) -> str:
        """What was not given back."""
        server = self.server
        return "leak: something" if server.connections or server.buffered or server.busy else ""


class Requests:
    """Mutated and pipelined requests at a server."""

    name = "requests"

    def make(self, seed: str) -> bytes:
        random = Random(seed)
        data = b"".join(random.choice(REQUESTS) for _ in range(random.choice((1, 1, 2, 3))))
        return mutate(data, REQUESTS, random)

    async def check(self, data: bytes, seed: str) -> Verdict:
        random = Random(seed + "cuts")
        late = random.random() < 0.4
        try:
            talk = Conversation(pieces(data, random), late, random.random() < 0.3, random.random() < 0.3)
            other = Conversation([data], not late)
            verdict = judge(data, talk)
            verdict.finding = verdict.finding or _different(talk, other)
        except Exception as error:
            return Verdict(finding=f"exception {type(error).__name__}: {error}")
        return verdict


def judge(data: bytes, talk: Conversation) -> Verdict:
    """Compares what a server made of `data` with what the oracle and h11 do."""
    expected = oracle.read_requests(data)
    try:
        statuses = talk.statuses()
    except ValueError as error:
        return Verdict(finding=f"the answers are not HTTP: {error}")
    refusals = statuses[len(talk.served) :]
    verdict = Verdict(len(talk.served), len(refusals))
    if len(talk.served) < len(expected.messages):
        verdict.stricter = refusals[0].decode() if refusals else "silence"
    if wrong := _unlike(talk.served, expected.messages):
        verdict.finding = f"unlike the oracle: {wrong} ({expected.fault or 'no fault'})"
    elif wrong := _unlike_h11(data, talk.served):
        verdict.finding = f"unlike h11: {wrong}"
    elif len(refusals) > 1 or statuses[: len(talk.served)] != [b"200"] * len(talk.served):
        verdict.finding = f"wrong answers: {statuses} to {len(talk.served)} requests"
    else:
        verdict.finding = _wrong_end(expected, talk, bool(refusals)) or talk.left()
    return verdict


def _wrong_end(expected: Reading, talk: Conversation, refused: bool) -> str:
    """What is wrong with the way a connection came to its end."""
    missing = len(expected.messages) - len(talk.served)
    over = bool(expected.messages) and expected.messages[-1].last
    if missing and not refused:
        return f"not answered: {missing} requests"
    if expected.fault and not refused:
        return f"not refused: {expected.fault}"
    if (refused or over) and not talk.ended:
        return "not ended: the connection goes on after its last answer"
    if over and refused and not missing:
        return "answered after the end: a refusal"
    return ""


def _unlike(served: list[Served], messages: list[Message]) -> str:
    for number, request in enumerate(served):
        if number >= len(messages):
            return f"served {request}, which is none"
        message = messages[number]
        if (*message.start, message.headers, message.body) != request:
            return f"served {request}, which is {message}"
    return ""


def _unlike_h11(data: bytes, served: list[Served]) -> str:
    if not served:
        return ""
    found = reference.read_requests(data)
    for number, request in enumerate(served):
        if number >= len(found.messages):
            return "" if harmless(data, request, found.fault) else f"served {request}, which is none: {found.fault}"
        message = found.messages[number]
        if (*message.start, message.headers, message.body) != request:
            return f"served {request}, which is {message}"
    return ""


def harmless(data: bytes, request: Served, fault: str) -> str:
    """Why we may take a request that h11 does not; empty when we may not."""
    method, target = request[:2]
    if any(byte >= 0x80 for byte in target):
        return "bytes above ASCII in a target match no route, and no part of it goes upstream"
    if target + b"  " in data or method + b"  " in data:
        return "more than one blank is allowed (RFC 9112, section 3), and what goes upstream is made anew"
    return harmless_number(data, fault)


def harmless_number(data: bytes, fault: str) -> str:
    """The same for what h11 says of lengths and bodies, requests' and answers'."""
    if fault.startswith(("body: illegal chunk header", "head: bad Content-Length")) and b"0" * 5 in data:
        return "h11 bounds the digits of a number, zeros in front included"
    if fault.startswith("body: ") and "illegal" not in fault:
        return "h11 reads lengths and codings in trailers, which are dropped here"
    return ""


def _different(one: Conversation, other: Conversation) -> str:
    if one.served != other.served:
        return f"cuts matter: {one.served} or {other.served}"
    if one.statuses() != other.statuses():
        return f"cuts matter: {one.statuses()} or {other.statuses()}"
    return ""
