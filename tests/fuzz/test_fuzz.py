"""The fuzzer in small: it finds what it should, finds nothing in the code as it is, and the valid stays valid."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.fuzz import oracle, reference
from tests.fuzz.__main__ import fuzz
from tests.fuzz.corpus import ANSWERS, CALLS, REQUESTS, STREAMS, chunked
from tests.fuzz.minimize import minimize
from tests.fuzz.requests import Conversation, judge
from tests.fuzz.stub import StubLoop
from tests.fuzz.verdict import Verdict

H = b"POST / HTTP/1.1\r\nHost: t\r\n"
A = b"HTTP/1.1 200 OK\r\n"


def shown(data: bytes) -> str:
    """A message's id."""
    return ascii(data[:80].decode("latin-1"))


@pytest.mark.parametrize("name", ["requests", "answers", "calls", "routed"])
def test_a_bounded_run_finds_nothing(name: str) -> None:
    with asyncio.Runner(loop_factory=StubLoop) as runner:
        tally = runner.run(fuzz(700, "every time the same", name, show=False))
    assert tally.findings == {}
    assert tally.accepted > 150
    assert tally.refused > 150


@pytest.mark.parametrize("data", REQUESTS + CALLS, ids=shown)
def test_valid_requests_are_read_alike_by_all(data: bytes) -> None:
    expected = oracle.read_requests(data)
    assert (len(expected.messages), expected.fault, expected.rest) == (1, "", b"")
    if b"Upgrade: " not in data:  # h11 waits for what is decided about it
        assert reference.read_requests(data).messages == expected.messages
    verdict = judge(data, Conversation([data], late=False))
    assert (verdict.accepted, verdict.refused, verdict.finding) == (1, 0, "")


@pytest.mark.parametrize("data", ANSWERS + STREAMS, ids=shown)
def test_valid_answers_are_read_alike_by_both_judges(data: bytes) -> None:
    one, other = (reader(data, True).messages[0] for reader in (oracle.read_answer, reference.read_answer))
    assert (one.start, one.headers, one.body) == (other.start, other.headers, other.body)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        pytest.param(H + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "a coding beside", id="both"),
        pytest.param(H + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", "the length", id="two lengths"),
        pytest.param(H + b"Content-Length: +1\r\n\r\na", "the length", id="a signed length"),
        pytest.param(H + b"Transfer-Encoding: x, chunked\r\n\r\n", "a coding other", id="two codings"),
        pytest.param(H + b"X: a\n\r\n\r\n", "a header line", id="a bare line feed"),
        pytest.param(H + b"X: a\r\n b\r\n\r\n", "a header line", id="a folded line"),
        pytest.param(H + b"X : a\r\n\r\n", "a header line", id="a blank before the colon"),
        pytest.param(H + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "a chunk's end", id="too long a chunk"),
        pytest.param(H + b"Transfer-Encoding: chunked\r\n\r\n1\n", "", id="half a line is not yet wrong"),
        pytest.param(H + b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n", "a chunk's size", id="a bare line feed in it"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "host", id="no host"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: t\r\n\r\n", "the request line", id="another version"),
    ],
)
def test_the_oracle_refuses_what_is_ambiguous(data: bytes, fault: str) -> None:
    reading = oracle.read_requests(data)
    assert reading.messages == []
    assert reading.fault.startswith(fault)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (A + b"Content-Length: 3\r\n\r\nab", b"ab"),
        (A + b"Content-Length: 1\r\n\r\nab", b"a"),
        (A + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\nc", b"abc"),
        (A + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabX", b"ab"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + A + b"\r\nab", b"ab"),
        (b"nothing", b""),
    ],
)
def test_the_oracle_knows_how_far_an_answer_is_in_order(data: bytes, body: bytes) -> None:
    assert oracle.body_so_far(data) == body


class Fussy:
    """Finds fault with anything that holds both bytes."""

    name = "fussy"

    def make(self, seed: str) -> bytes:
        return b""

    async def check(self, data: bytes, seed: str) -> Verdict:
        return Verdict(finding="both: there" if b"a" in data and b"b" in data else "")


async def test_an_input_is_made_small() -> None:
    assert await minimize(Fussy(), b"x" * 50 + b"a" + b"y" * 50 + b"b" + b"z" * 9, "", "both") == b"ab"


def test_a_difference_is_a_finding() -> None:
    data = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nab"
    talk = Conversation([data], late=False)
    assert judge(data, talk).finding == ""
    talk.served[0] = (*talk.served[0][:3], b"a")
    assert judge(data, talk).kind == "unlike the oracle"
    assert judge(data + b"X", Conversation([data], late=False)).finding == ""
    assert judge(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" + data, talk).finding


tokens = some.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=12).map(str.encode)
values = some.binary(max_size=20).map(lambda raw: bytes(byte for byte in raw if byte >= 0x20 and byte != 0x7F).strip())
bodies = some.binary(max_size=200)


@some.composite
def requests(draw: some.DrawFn) -> tuple[bytes, bytes]:
    """A valid request with its body."""
    names = draw(some.lists(tokens.map(lambda name: b"x-" + name), max_size=5))
    head = b"".join(
        b"%b:%b%b\r\n" % (name, draw(some.sampled_from([b"", b" ", b"\t "])), draw(values)) for name in names
    )
    body = draw(bodies)
    if draw(some.booleans()):
        extension = draw(some.sampled_from([b"", b";a", b";a=b", b';a="b c"']))
        framed = b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, draw(some.integers(1, 50)), extension)
    else:
        framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return b"POST /%d HTTP/1.1\r\nHost: t\r\n" % len(body) + head + framed, body


@settings(max_examples=80, deadline=None)
@given(some.lists(requests(), min_size=1, max_size=3), some.lists(some.integers(0, 600), max_size=5), some.booleans())
def test_what_is_valid_is_served_whole_however_it_is_cut(
    sent: list[tuple[bytes, bytes]], cuts: list[int], late: bool
) -> None:
    data = b"".join(request for request, _ in sent)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    talk = Conversation([data[a:b] for a, b in itertools.pairwise(ends)], late)
    assert [request[3] for request in talk.served] == [body for _, body in sent]
    assert judge(data, talk).finding == ""
