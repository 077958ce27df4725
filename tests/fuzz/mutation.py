"""Changes to a message that are likely to be read differently by different readers. Pure: randomness is an argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

PIECES: list[bytes] = [
    b"\r\n", b"\n", b"\r", b"\0", b"\t", b" ", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b"\xc2\xa0", b"\r\r\n",
    b"\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n ", b"\r\n\t", b":", b" :", b"::", b",", b";", b"=", b'"', b"\\", b"+",
    b"-", b"_", b"0x", b"0", b"00000000000000000000", b"1", b"9" * 20, b"18446744073709551616",
    b"18446744073709551621", b"fffffffffffffffff", b"10000000000000005", b"7fffffffffffffff", b"1e1", b"5, 5",
    b"5,6", b" 5", b"5 ", b"%35", b"chunked", b"Chunked", b"chunked, chunked", b"chunked,", b", chunked",
    b"identity", b"identity, chunked", b"gzip, chunked", b"chunked;q=1", b"xchunked", b"\x0bchunked", b'"chunked"',
    b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"content-length:5\r\n",
    b"Content-Length : 5\r\n", b"Content_Length: 5\r\n", b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding:\tchunked\r\n", b"Transfer-Encoding:\r\n chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding\r\n: chunked\r\n", b"X: a\r\n b\r\n",
    b"Host: u\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: content-length\r\n",
    b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"Upgrade: websocket\r\n", b"Keep-Alive: timeout=0\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0",
    b"HTTP/1.2", b"http/1.1", b"HTTP/01.1", b"HTTP/1.10", b"HTTP/1,1", b"GET ", b"POST ", b"CONNECT ", b"PRI * ",
    b"get ", b"http://other:1/", b"//", b"*", b"?", b"#", b"%00", b"0\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n", b"GET /old\r\n", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"Trailer: x\r\n",
    b"data: [DONE]\n\n",
]  # fmt: skip

BYTEWISE = 2000
"""Larger messages do not come a byte at a time: that would take long and show nothing."""
_number = re.compile(rb"[0-9A-Fa-f]+")


def mutate(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """`data` after a few changes; `others` lend bytes."""
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        if random.random() < 0.1:
            data = _splice(data, random.choice(others), random)
        else:
            data = random.choice(_CHANGES)(data, random)
    return data


def _at(data: bytes, random: Random) -> int:
    """A place, in the head more often than not, since bodies are long and dull."""
    end = data.find(b"\r\n\r\n")
    return random.randint(0, end if end > 0 and random.random() < 0.5 else len(data))


def _splice(data: bytes, other: bytes, random: Random) -> bytes:
    return data[: _at(data, random)] + other[_at(other, random) :]


def _flip(data: bytes, random: Random) -> bytes:
    at = _at(data, random)
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :] if at < len(data) else data


def _byte(data: bytes, random: Random) -> bytes:
    at = _at(data, random)
    return data[:at] + bytes([random.randrange(256)]) + data[at + random.randrange(2) :]


def _insert(data: bytes, random: Random) -> bytes:
    at = _at(data, random)
    return data[:at] + random.choice(PIECES) + data[at:]


def _overwrite(data: bytes, random: Random) -> bytes:
    at, piece = _at(data, random), random.choice(PIECES)
    return data[:at] + piece + data[at + len(piece) :]


def _delete(data: bytes, random: Random) -> bytes:
    at = _at(data, random)
    return data[:at] + data[at + random.choice((1, 1, 1, 2, 3, 8)) :]


def _repeat(data: bytes, random: Random) -> bytes:
    at = _at(data, random)
    size = random.choice((1, 1, 2, 4, 16))
    return data[: at + size] + data[at:]


def _number_changed(data: bytes, random: Random) -> bytes:
    found = list(_number.finditer(data))
    if not found:
        return data
    match = random.choice(found)
    number = match[0]
    written = random.choice((b"%d", b"%x", b"+%d", b"-%d", b"0%d", b"%d ")) % random.randrange(40)
    near = random.choice((number + b" ", b" " + number, b"0" + number, b"+" + number, number + b"\t", number * 2))
    other = random.choice((written, written, near, near, random.choice(PIECES)))
    return data[: match.start()] + other + data[match.end() :]


def _line_end(data: bytes, random: Random) -> bytes:
    """One line end becomes another."""
    ends = [match.start() for match in re.finditer(b"\r\n", data)]
    if not ends:
        return data
    at = random.choice(ends)
    return (
        data[:at]
        + random.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b"\r\n ", b"\0\r\n", b" \r\n"))
        + data[at + 2 :]
    )


def _line(data: bytes, random: Random) -> bytes:
    """A line is doubled, dropped, moved, spaced, or one of the known bad ones comes in."""
    lines = data.split(b"\r\n")
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            lines.insert(to, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines[at] = lines[at].replace(b":", random.choice((b" :", b"\t:", b":\t ", b"", b": \r\n ", b"\0:")), 1)
        case 4:
            lines[at] = lines[at].swapcase()
        case _:
            lines.insert(to, random.choice(PIECES).removesuffix(b"\r\n"))
    return b"\r\n".join(lines)


def _cut(data: bytes, random: Random) -> bytes:
    return data[: _at(data, random)]


_CHANGES: list[Callable[[bytes, Random], bytes]] = [
    _flip, _byte, _insert, _insert, _overwrite, _delete, _repeat, _number_changed, _number_changed, _line_end,
    _line, _line, _cut,
]  # fmt: skip


def pieces(data: bytes, random: Random) -> list[bytes]:
    """`data` as it may arrive: whole, in a few reads, or a byte at a time."""
    style = random.randrange(4)
    if style == 0 or not data:
        return [data]
    if style == 1 and len(data) < BYTEWISE:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 5)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
