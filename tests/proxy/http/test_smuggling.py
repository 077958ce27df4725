"""The known ways to hide one request in another: each is refused, or means one request to everybody.

What the provider gets is looked at byte by byte by the strict reader of the fuzzer: nothing, or one well-formed
request with the body that the client framed. A second request that was hidden in the first is never served.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.fuzz import oracle
from tests.proxy.harness import AUTH, Files, Running, proxy, talk

PATH = b"/serving-endpoints/ep/invocations"
BODY = b'{"messages": [{"role": "user", "content": "outer"}]}'
HIDDEN_BODY = b'{"messages": [{"role": "user", "content": "hidden"}]}'
HEAD = b"POST %b HTTP/1.1\r\nHost: t\r\nAuthorization: %b\r\n" % (PATH, AUTH.encode())
HIDDEN = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(HIDDEN_BODY), HIDDEN_BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
REPLY = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{"a":1}'


def length(size: int = len(BODY)) -> bytes:
    return b"Content-Length: %d\r\n" % size


def chunks(body: bytes = BODY, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n0\r\n%b\r\n" % (len(body), extension, body, trailers)


@dataclass
class Provider:
    """Answers whatever is a complete request by the strict reader, and keeps every byte that came."""

    port: int = 0
    received: list[bytearray] = field(default_factory=list)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data, answered = bytearray(), 0
        self.received.append(data)
        while piece := await reader.read(1 << 16):
            data += piece
            complete = len(oracle.read_requests(bytes(data)).messages)
            writer.write(REPLY * (complete - answered))
            answered = complete
        writer.close()

    def bodies(self) -> list[str]:
        """What the requests say; ValueError when the bytes are anything but whole requests."""
        found = []
        for data in self.received:
            reading = oracle.read_requests(bytes(data))
            if reading.fault or reading.rest:
                raise ValueError(f"{reading.fault}: {bytes(data)!r}")
            found += [json.loads(message.body)["messages"][0]["content"] for message in reading.messages]
        return found


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    listener = await asyncio.start_server(provider.accept, "127.0.0.1", 0)
    provider.port = listener.sockets[0].getsockname()[1]
    yield provider
    listener.close()


@pytest.fixture
async def guarded(files: Files, provider: Provider) -> AsyncIterator[Running]:
    files.usual(f"http://127.0.0.1:{provider.port}/v1")
    async with proxy(files) as running:
        yield running


END = b"GET /end HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
"""Stands behind what should be served: it is understood only when the end before it was."""


def refused(*raw: bytes, why: str, status: int = 400) -> object:
    """One refusal, and the connection ends; nothing goes upstream."""
    return pytest.param(b"".join(raw) + END, [status], [], id=why)


def served(*raw: bytes, why: str, last: bool = False) -> object:
    """One call goes upstream; `last`: what is behind it is not read."""
    return pytest.param(b"".join(raw) + END, [200] if last else [200, 404], ["outer"], id=why)


CL_TE = length() + CHUNKED + b"\r\n"
VECTORS = [
    refused(HEAD, CL_TE, b"0\r\n\r\n", HIDDEN, why="CL.TE"),
    refused(HEAD, CHUNKED, length(4), b"\r\n", chunks(), HIDDEN, why="TE.CL"),
    refused(HEAD, CHUNKED, b"Transfer-Encoding: x\r\n\r\n", chunks(), HIDDEN, why="TE.TE, the second unknown"),
    refused(HEAD, b"Transfer-Encoding: x\r\n", CHUNKED, b"\r\n", chunks(), HIDDEN, why="TE.TE, the first unknown"),
    refused(HEAD, CHUNKED, CHUNKED, b"\r\n", chunks(), HIDDEN, why="the same coding twice"),
    refused(
        HEAD, b"Transfer-Encoding : chunked\r\n", length(4), b"\r\n", chunks(), HIDDEN, why="blank before the colon"
    ),
    refused(
        HEAD, b"Transfer-Encoding\t: chunked\r\n", length(4), b"\r\n", chunks(), HIDDEN, why="tab before the colon"
    ),
    refused(HEAD, b" Transfer-Encoding: chunked\r\n", length(4), b"\r\n", chunks(), HIDDEN, why="blank before a name"),
    refused(HEAD, b"X: x\r\n Transfer-Encoding: chunked\r\n", length(), b"\r\n", BODY, HIDDEN, why="a folded line"),
    refused(HEAD, b"X: x\nTransfer-Encoding: chunked\r\n", length(), b"\r\n", BODY, why="a bare LF in a value"),
    refused(HEAD, b"X: x\rTransfer-Encoding: chunked\r\n", length(), b"\r\n", BODY, why="a bare CR in a value"),
    refused(HEAD, b"X: x\0\r\n", length(), b"\r\n", BODY, why="NUL in a value"),
    refused(HEAD, b"X\0: x\r\n", length(), b"\r\n", BODY, why="NUL in a name"),
    refused(HEAD, b"X\xff: x\r\n", length(), b"\r\n", BODY, why="a byte above ASCII in a name"),
    refused(HEAD, b"X(y): x\r\n", length(), b"\r\n", BODY, why="brackets in a name"),
    refused(HEAD, b": x\r\n", length(), b"\r\n", BODY, why="no name"),
    refused(HEAD, b"X\r\n", length(), b"\r\n", BODY, why="no colon"),
    refused(HEAD, b"Transfer-Encoding\r\n: chunked\r\n", length(), b"\r\n", BODY, why="a line end before the colon"),
    refused(HEAD, b"Transfer-Encoding:\r\n chunked\r\n", length(4), b"\r\n", chunks(), HIDDEN, why="a folded coding"),
    *[
        refused(HEAD, b"Transfer-Encoding: ", coding, b"\r\n\r\n", chunks(), HIDDEN, why=f"coding {coding!r}")
        for coding in (
            b"",
            b"identity",
            b"xchunked",
            b"chunked, chunked",
            b"chunked, identity",
            b"identity, chunked",
            b"gzip, chunked",
            b"chunked;q=1",
            b"chunked,",
            b",chunked",
            b'"chunked"',
            b"'chunked'",
            b"\x0bchunked",
            b"chunked\x0b",
            b"chunked\0",
            b"\x0cchunked",
            b"chunke",
            b"chunk",
            b"\xc3\xa7hunked",
            b"cow",
            b"chunked\xa0",
        )
    ],
    *[
        refused(HEAD, b"Content-Length: ", value, b"\r\n\r\n", BODY, HIDDEN, why=f"length {value!r}")
        for value in (
            b"+52",
            b"-52",
            b"5_2",
            b"5 2",
            b"52,",
            b"52, 52",
            b"52,53",
            b"0x34",
            b"52.0",
            b"5e1",
            b'"52"',
            b"\x0b52",
            b"52\x0c",
            b"",
            b"18446744073709551668",
            b"\xd9\xa5\xd9\xa2",
            b"52;a",
            b"0b1",
            b"NaN",
        )
    ],
    refused(HEAD, length(), length(), b"\r\n", BODY, HIDDEN, why="the same length twice"),
    refused(HEAD, length(), length(4), b"\r\n", BODY, HIDDEN, why="two lengths"),
    refused(HEAD, length(0), length(), b"\r\n", BODY, HIDDEN, why="no length and a length"),
    refused(HEAD, length(), b"Content-Length : 4\r\n\r\n", BODY, HIDDEN, why="a spaced second length"),
    pytest.param(HEAD + b"\r\n" + HIDDEN + END, [400, 200, 404], ["hidden"], id="no length: what follows is the next"),
    refused(HEAD, CHUNKED, b"\r\n34\n", BODY, b"\r\n0\r\n\r\n", HIDDEN, why="a bare LF behind a chunk's size"),
    refused(HEAD, CHUNKED, b"\r\n34\r", BODY, b"\r\n0\r\n\r\n", HIDDEN, why="a bare CR behind a chunk's size"),
    refused(HEAD, CHUNKED, b"\r\n34;a\nb\r\n", BODY, b"\r\n0\r\n\r\n", HIDDEN, why="a bare LF in an extension"),
    refused(HEAD, CHUNKED, b"\r\n34;a\rb\r\n", BODY, b"\r\n0\r\n\r\n", HIDDEN, why="a bare CR in an extension"),
    refused(HEAD, CHUNKED, b"\r\n34;a\0\r\n", BODY, b"\r\n0\r\n\r\n", HIDDEN, why="NUL in an extension"),
    refused(HEAD, CHUNKED, b"\r\n34\r\n", BODY, b"\n0\r\n\r\n", HIDDEN, why="a bare LF behind a chunk"),
    refused(HEAD, CHUNKED, b"\r\n34\r\n", BODY, b"XX0\r\n\r\n", HIDDEN, why="two other bytes behind a chunk"),
    refused(HEAD, CHUNKED, b"\r\n33\r\n", BODY, b"\r\n0\r\n\r\n", HIDDEN, why="a chunk longer than its size"),
    *[
        refused(HEAD, CHUNKED, b"\r\n", size, b"\r\n", BODY, b"\r\n0\r\n\r\n", HIDDEN, why=f"chunk size {size!r}")
        for size in (
            b"0x34",
            b"+34",
            b"-34",
            b" 34",
            b"3 4",
            b"3_4",
            b"34h",
            b"",
            b";a",
            b"10000000000000034",
            b"\xd9\xa3",
        )
    ],
    refused(HEAD, CHUNKED, b"\r\n", chunks(trailers=b"Content-Length: 4\r\n"), why="a length in a trailer"),
    refused(HEAD, CHUNKED, b"\r\n", chunks(trailers=b"X : 4\r\n"), why="a spaced trailer"),
    refused(HEAD, CHUNKED, b"\r\n", chunks(trailers=b"X: 4\n"), why="a trailer's bare LF"),
    refused(HEAD.replace(b"1.1", b"1.0"), CHUNKED, b"\r\n", chunks(), HIDDEN, why="a coding in HTTP/1.0"),
    refused(HEAD.replace(b" HTTP/1.1", b""), length(), b"\r\n", BODY, why="HTTP/0.9"),
    refused(HEAD.replace(b"1.1", b"2.0"), length(), b"\r\n", BODY, why="HTTP/2.0"),
    refused(HEAD.replace(b"1.1", b"1.1 x"), length(), b"\r\n", BODY, why="words behind the version"),
    refused(HEAD.replace(b"HTTP/1.1", b"http/1.1"), length(), b"\r\n", BODY, why="the version in lower case"),
    refused(HEAD.replace(b"HTTP/1.1", b"HTTP/01.1"), length(), b"\r\n", BODY, why="zeros in the version"),
    refused(HEAD.replace(b" HTTP", b"\tHTTP"), length(), b"\r\n", BODY, why="a tab before the version"),
    refused(HEAD.replace(b"POST ", b"POST\t"), length(), b"\r\n", BODY, why="a tab behind the method"),
    refused(b" ", HEAD, length(), b"\r\n", BODY, why="a blank before the method"),
    refused(HEAD.replace(b"invocations", b"invo cations"), length(), b"\r\n", BODY, why="a blank in the target"),
    refused(HEAD.replace(b"invocations", b"invo\0cations"), length(), b"\r\n", BODY, why="NUL in the target"),
    refused(HEAD.replace(b"POST", b"post"), length(), b"\r\n", BODY, why="the method in lower case"),
    refused(HEAD.replace(b"Host: t\r\n", b""), length(), b"\r\n", BODY, why="no host"),
    refused(HEAD, b"Host: u\r\n", length(), b"\r\n", BODY, why="two hosts"),
    refused(HEAD, b"Authorization: Bearer x\r\n", length(), b"\r\n", BODY, why="two callers"),
    refused(HEAD, b"Expect: 100-continue\r\nExpect: x\r\n", length(), b"\r\n", BODY, why="two expectations"),
    refused(HEAD, b"Expect: 100-continue, x\r\n", length(), b"\r\n", BODY, why="another expectation", status=417),
    refused(b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n", HIDDEN, why="CONNECT"),
    refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HIDDEN, why="HTTP/2 by itself"),
    served(HEAD, length(), b"\r\n", BODY, why="plain"),
    served(HEAD, CHUNKED, b"\r\n", chunks(), why="chunked"),
    served(HEAD, b"transfer-encoding:\t CHUNKED\r\n\r\n", chunks(), why="the coding in another case"),
    served(HEAD, CHUNKED, b"\r\n", chunks(extension=b';a="\\"b"'), why="a quoted extension"),
    served(HEAD, CHUNKED, b"\r\n", chunks(extension=b";" + b"a" * 999), why="a long extension"),
    served(
        HEAD,
        CHUNKED,
        b"\r\n",
        chunks(trailers=b"Host: u\r\nAuthorization: Bearer x\r\n"),
        why="trailers count for nothing",
    ),
    served(
        HEAD,
        b"Content_Length: 4\r\nTransfer_Encoding: chunked\r\n",
        length(),
        b"\r\n",
        BODY,
        why="underscores are other names",
    ),
    served(HEAD, b"X-Content-Length: 4\r\n", length(), b"\r\n", BODY, why="another name with a known end"),
    served(HEAD, b"Content-Length: 000052\r\n\r\n", BODY, why="zeros before a length"),
    served(HEAD, b"Connection: content-length, host\r\n", length(), b"\r\n", BODY, why="framing named as hop-by-hop"),
    served(
        HEAD.replace(b"POST /", b"POST http://other:1/"),
        length(),
        b"\r\n",
        BODY,
        why="an absolute target of another host",
    ),
    served(b"\r\n", HEAD, length(), b"\r\n", BODY, why="an empty line in front"),
    served(HEAD, b"Upgrade: h2c\r\nConnection: Upgrade\r\n", length(), b"\r\n", BODY, why="h2c, offered with a length"),
    served(
        HEAD,
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n",
        CHUNKED,
        b"\r\n",
        chunks(),
        why="h2c, offered with chunks",
    ),
    served(
        HEAD, b"Upgrade: websocket\r\nConnection: upgrade\r\n", length(), b"\r\n", BODY, why="a web socket, offered"
    ),
    served(
        HEAD, b"Connection: close\r\n", length(), b"\r\n", BODY, HIDDEN, last=True, why="more behind Connection: close"
    ),
    served(
        HEAD,
        b"Connection: x, Close\r\n",
        length(),
        b"\r\n",
        BODY,
        b"garbage",
        last=True,
        why="garbage behind Connection: close",
    ),
    served(HEAD.replace(b"1.1", b"1.0"), length(), b"\r\n", BODY, HIDDEN, last=True, why="more behind HTTP/1.0"),
    served(
        HEAD.replace(b"1.1", b"1.0"),
        b"Connection: keep-alive\r\n",
        length(),
        b"\r\n",
        BODY,
        HIDDEN,
        last=True,
        why="more behind HTTP/1.0 that would stay",
    ),
]


@pytest.mark.parametrize(("raw", "statuses", "bodies"), VECTORS)
async def test_no_request_hides_in_another(
    guarded: Running, provider: Provider, raw: bytes, statuses: list[int], bodies: list[str]
) -> None:
    for times, cut in enumerate((len(raw), raw.find(b"\r\n\r\n") + 2), 1):
        answer = await talk(guarded.port, raw[:cut], raw[cut:], pause=0.01)
        assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == statuses, answer
        assert provider.bodies() == bodies * times
