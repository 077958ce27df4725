"""Heads of HTTP/1.1 messages: building them, and the rules that a received one must keep.

Sans-I/O. Used by the server and client protocols of this folder and by who builds requests and answers.
Header names are lower-case bytes everywhere. Rules: RFC 9110 and 9112.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email.utils import formatdate
from http import HTTPStatus

import httptools

Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
JSON_HEAD = b"content-type: application/json\r\n"
"""The same as `JSON`, rendered."""

ONCE = frozenset((b"host", b"authorization", b"content-length", b"transfer-encoding", b"content-type", b"expect"))
"""Request headers that may come once: two of them could be read differently by two servers in a row."""

_STATUS_LINES = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}


def status_line(status: int) -> bytes:
    """The first line of an answer. A status without a registered phrase gets an empty one."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def lines(headers: Iterable[Header]) -> bytes:
    """Header lines as they go over the wire; each name and value must be clean (see `clean_value`)."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def clean_value(value: str) -> bytes:
    """A header's value from text that others control. ValueError when it could break out of its line."""
    raw = value.encode("latin-1")  # UnicodeEncodeError is a ValueError too
    if not is_clean(raw):
        raise ValueError("a header's value may not hold control characters")
    return raw


def is_clean(value: bytes) -> bool:
    """Whether a header's value holds neither control characters nor leading or trailing blanks."""
    return value == value.strip() and all(byte >= 0x20 and byte != 0x7F for byte in value)


def http_date(seconds_since_epoch: float) -> bytes:
    """The value of a `date` header."""
    return formatdate(seconds_since_epoch, usegmt=True).encode()


def merged(fields: Sequence[Header]) -> tuple[dict[bytes, bytes], str]:
    """Headers by their lower-case name, repeated ones joined; and what is wrong when one may not be repeated."""
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        name = name.lower()
        if name not in headers:
            headers[name] = value
        elif name in ONCE or name.startswith(b"x-model-serving-"):
            return headers, f"the header {name.decode('latin-1')} comes twice: send it once"
        else:
            headers[name] += b", " + value
    return headers, ""


def request_fault(headers: dict[bytes, bytes], version: str) -> str:
    """What is wrong with a request's head that the parser lets through; empty when nothing is."""
    if version not in ("1.1", "1.0"):
        return f"HTTP version {version} is not spoken here: use HTTP/1.1"
    if version == "1.1" and b"host" not in headers:
        return "the Host header is missing"
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (version == "1.0" or coding.lower() != b"chunked"):
        return "Transfer-Encoding must be chunked, in HTTP/1.1"
    return ""


def offerless_head(parser: httptools.HttpRequestParser, target: bytes, fields: Iterable[Header]) -> bytes:
    """The head that a parser has read, without its offer to switch protocols."""
    kept = []
    for name, value in fields:
        if name.lower() == b"connection":
            value = b", ".join([part for part in value.split(b",") if part.strip().lower() != b"upgrade"])
        if name.lower() != b"upgrade":
            kept.append((name, value))
    version = parser.get_http_version().encode()
    return b"%b %b HTTP/%b\r\n%b\r\n" % (parser.get_method(), target, version, lines(kept))
