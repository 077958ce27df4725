"""What bytes mean by RFC 9112, read as strictly as a server may: the judge of the fuzzer. Sans-I/O.

It shares nothing with the code under test, knows the whole input at once, and prefers plainness to speed. Where the
RFC leaves a choice between mending and refusing, it refuses: bare line ends, folded lines, two lengths, a length
beside a coding. Its leaves, none of which moves the end of anything: line ends before a message (RFC 9112, section
2.2, of requests), more than one blank in a request line (section 3), an answer that calls itself HTTP/0.9 or 2.0 and
is read as 1.0, a trailer that ends the connection, and anything on its line in a reason, which nobody reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
_request_line = re.compile(rb"(%b) +([\x21-\x7e\x80-\xff]+) +HTTP/1\.([01])" % TOKEN).fullmatch
_status_line = re.compile(rb"HTTP/(?:1\.([01])|0\.9|2\.0) ([1-9][0-9][0-9])(?: [^\r\n]*)?").fullmatch
_field_line = re.compile(rb"(%b):(%b)" % (TOKEN, VALUE)).fullmatch
_chunk_line = re.compile(rb"([0-9A-Fa-f]+)([ \t]*;%b)?" % VALUE).fullmatch
_digits = re.compile(rb"[0-9]+").fullmatch
MAX_LENGTH = 2**63

Headers = list[tuple[bytes, bytes]]


class BadMessageError(Exception):
    """The bytes are not, and will never become, a message that may be served."""


class IncompleteError(Exception):
    """More bytes are needed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request or answer. `start`: method and target, or the status. `last`: the connection ends with it."""

    start: tuple[bytes, ...]
    headers: dict[bytes, bytes]
    body: bytes
    last: bool
    framed: bool = True
    """Its end is known by more than the end of the connection."""


@dataclass(slots=True)
class Reading:
    """The messages of a byte stream, what is wrong behind them ("" when nothing is), and what is left."""

    messages: list[Message] = field(default_factory=list)
    fault: str = ""
    rest: bytes = b""


def plain(headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Headers without blanks in their values and in lower case, for comparing; no upgrade, which may be ignored.

    Readers join repeated headers, trim values behind a byte above ASCII and spell codings as they like.
    """
    found = {name: value.translate(None, b" \t").lower() for name, value in headers.items() if name != b"upgrade"}
    if b"connection" in found:
        found[b"connection"] = b",".join(
            part for part in found[b"connection"].split(b",") if part not in (b"", b"upgrade")
        )
    return found


def read_requests(data: bytes) -> Reading:
    """All requests of a connection, up to the one that ends it."""
    reading = Reading(rest=data)
    while reading.rest:
        try:
            message, reading.rest = _read_request(reading.rest.lstrip(b"\r\n"))
        except BadMessageError as error:
            reading.fault = str(error)
            break
        except IncompleteError:
            break
        reading.messages.append(message)
        if message.last:
            break
    return reading


def read_answer(data: bytes, ended: bool) -> Reading:
    """The final answer to one request that was not HEAD; `ended`: the connection has ended behind `data`."""
    reading = Reading(rest=data)
    try:
        while not reading.messages:
            message, reading.rest = _read_answer(reading.rest.lstrip(b"\r\n"), ended)
            if message.start[0] >= b"200":
                reading.messages.append(message)
    except BadMessageError as error:
        reading.fault = str(error)
    except IncompleteError:
        pass
    return reading


def body_so_far(data: bytes) -> bytes:
    """As much of an answer's body as has arrived in good order, whatever comes behind it."""
    body = bytearray()
    try:
        while True:
            lines, data = _head(data.lstrip(b"\r\n"))
            if not lines[0].split(b" ")[1].startswith(b"1"):
                break
        length = _length(_fields(lines[1:]))
        if length is not None:
            return data[:length] if length >= 0 else data
        _chunks(data, body, [])
    except (BadMessageError, IncompleteError, IndexError):
        pass
    return bytes(body)


def _read_request(data: bytes) -> tuple[Message, bytes]:
    lines, rest = _head(data)
    found = _request_line(lines[0])
    if not found:
        raise BadMessageError("the request line")
    method, target, minor = found.groups()
    if method == b"PRI":
        raise IncompleteError  # HTTP/2's first words, awaited to their end before they are refused
    fields = _fields(lines[1:])
    if method == b"CONNECT":
        raise BadMessageError("CONNECT")
    if len(_all(fields, b"host")) != 1 and not (minor == b"0" and not _all(fields, b"host")):
        raise BadMessageError("host")
    if minor == b"0" and _all(fields, b"transfer-encoding"):
        raise BadMessageError("a coding in HTTP/1.0")
    length = _length(fields)
    trailers: Headers = []
    body, rest = _chunks(rest, bytearray(), trailers) if length is None else _cut(rest, max(length, 0))
    last = minor == b"0" or b"close" in _options(fields + trailers)
    return Message((method, target), _merged(fields), body, last), rest


def _read_answer(data: bytes, ended: bool) -> tuple[Message, bytes]:
    lines, rest = _head(data)
    found = _status_line(lines[0])
    if not found:
        raise BadMessageError("the status line")
    minor, status = found[1], found[2]
    fields = _fields(lines[1:])
    options = _options(fields)
    if status == b"101":
        raise BadMessageError("switches protocols")
    if status < b"200":
        if _length(fields) != -1:
            raise BadMessageError("an interim answer with a body")
        return Message((status,), _merged(fields), b"", False), rest
    last = b"close" in options or (minor != b"1" and b"keep-alive" not in options)
    if status in (b"204", b"304"):
        return Message((status,), _merged(fields), b"", last), rest
    length = _length(fields)
    if length is None:
        body, rest = _chunks(rest, bytearray(), [])
    elif length >= 0:
        body, rest = _cut(rest, length)
    elif ended:
        return Message((status,), _merged(fields), rest, True, framed=False), b""
    else:
        raise IncompleteError
    return Message((status,), _merged(fields), body, last), rest


def _head(data: bytes) -> tuple[list[bytes], bytes]:
    """The lines of a head. A bare CR or LF within them is found by the patterns of the lines."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise IncompleteError
    return head.split(b"\r\n"), rest


def _fields(lines: list[bytes]) -> Headers:
    fields = []
    for line in lines:
        found = _field_line(line)
        if not found:
            raise BadMessageError("a header line")
        fields.append((found[1].lower(), found[2].strip(b" \t")))
    return fields


def _all(fields: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def _merged(fields: Headers) -> dict[bytes, bytes]:
    return plain({name: b",".join(_all(fields, name)) for name, _ in fields})


def _options(fields: Headers) -> set[bytes]:
    return {part.strip(b" \t").lower() for value in _all(fields, b"connection") for part in value.split(b",")}


def _length(fields: Headers) -> int | None:
    """The body's length; None: chunked; -1: nothing is said."""
    codings, lengths = _all(fields, b"transfer-encoding"), _all(fields, b"content-length")
    if codings and lengths:
        raise BadMessageError("a coding beside a length")
    if codings:
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise BadMessageError("a coding other than chunked")
        return None
    if not lengths:
        return -1
    if len(lengths) > 1 or not _digits(lengths[0]) or int(lengths[0]) >= MAX_LENGTH:
        raise BadMessageError("the length")
    return int(lengths[0])


def _cut(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise IncompleteError
    return data[:length], data[length:]


def _line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if not end:
        raise IncompleteError
    return line, rest


def _chunks(data: bytes, body: bytearray, trailers: Headers) -> tuple[bytes, bytes]:
    while True:
        line, data = _line(data)
        found = _chunk_line(line)
        if not found:
            raise BadMessageError("a chunk's size")
        size = int(found[1], 16)
        if size >= MAX_LENGTH:
            raise BadMessageError("a chunk's size")
        if not size:
            break
        body += data[:size]
        _, data = _cut(data, size)
        end, data = _cut(data, 2)
        if end != b"\r\n":
            raise BadMessageError("a chunk's end")
    lines = []
    while True:
        line, data = _line(data)
        if not line:
            break
        lines.append(line)
    trailers += _fields(lines)
    return bytes(body), data
