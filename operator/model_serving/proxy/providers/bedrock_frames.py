"""Amazon's event stream: binary frames with checksums, cut into events. Pure; used by the dialect of Converse.

    total length 4 · length of headers 4 · CRC of these 4 · headers · payload · CRC of all before 4

Numbers are big-endian, checksums those of zlib. A frame that tells of an error is an event whose name begins with
`ERROR`. Reference: https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html (the same for all services)
"""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import crc32

import msgspec

from model_serving.proxy.errors import Unavailable
from model_serving.proxy.providers.events import Event
from model_serving.proxy.sse import MAX_EVENT_BYTES

STREAM_TYPE = b"application/vnd.amazon.eventstream"
ERROR = b"!"
MAX_HEAD_BYTES = 128 * 1024
"""As AWS' own tools have it; what heads mean is remembered."""

_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_SHORT = struct.Struct(">H")
_AROUND = _PRELUDE.size + _CHECKSUM.size
_STRING = 7
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type: booleans, numbers, a time, a UUID. Types 6 and 7 begin with a length."""


class Frames:
    """Cuts a byte stream into events; keeps what is not complete yet."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now. Unavailable for bytes that are damaged, after what came before them."""
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data = bytes(self._held)
            self._held.clear()
        events: list[Event] = []
        start, end = 0, len(data)
        try:
            while end - start >= _PRELUDE.size:
                total, head = _lengths(data, start)
                if end - start < total:
                    self._needed = total
                    break
                events.append(_event(data, start, total, head))
                start += total
            else:
                self._needed = _PRELUDE.size
        except Unavailable:
            if not events:
                raise
            self._needed = 0  # found again by whoever looks next
        if start < end:
            self._held += data[start:]
        return events

    def close(self) -> list[Event]:
        """Nothing: a frame that was cut off means nothing. Unavailable as in `feed`."""
        return self.feed(b"")


def _lengths(data: bytes, start: int) -> tuple[int, int]:
    """How long a frame is, and its headers."""
    total, head, checksum = _PRELUDE.unpack_from(data, start)
    if crc32(data[start : start + 8]) != checksum or not _AROUND + head <= total <= MAX_EVENT_BYTES:
        raise _damaged()
    if head > MAX_HEAD_BYTES:
        raise _damaged()
    return total, head


def _event(data: bytes, start: int, total: int, head: int) -> Event:
    """The event of a whole frame."""
    last = start + total - _CHECKSUM.size
    if crc32(data[start:last]) != _CHECKSUM.unpack_from(data, last)[0]:
        raise _damaged()
    start += _PRELUDE.size
    name, message = _meaning(data[start : start + head])
    return name, data[start + head : last] if message is None else message


@lru_cache(maxsize=64)
def _meaning(head: bytes) -> tuple[bytes, bytes | None]:
    """The event's name, and what it says when its headers say it. Streams repeat a handful of heads."""
    headers = _headers(head)
    match headers.get(":message-type", "event"):
        case "event":
            return headers.get(":event-type", "").encode(), None
        case "exception":
            return ERROR + headers.get(":exception-type", "").encode(), None
    message = msgspec.json.encode({"message": headers.get(":error-message", "")})
    return ERROR + headers.get(":error-code", "").encode(), message


def _headers(head: bytes) -> dict[str, str]:
    """The headers that are text."""
    found = {}
    at = 0
    try:
        while at < len(head):
            name = head[at + 1 : at + 1 + head[at]].decode()
            at += 1 + head[at]
            kind = head[at]
            at += 1
            if kind in _FIXED:
                at += _FIXED[kind]
                continue
            (size,) = _SHORT.unpack_from(head, at)
            at += _SHORT.size
            if kind == _STRING:
                found[name] = head[at : at + size].decode()
            at += size
    except (IndexError, struct.error, UnicodeDecodeError):
        raise _damaged() from None
    return found


def _damaged() -> Unavailable:
    return Unavailable("the provider's stream is damaged: a frame's length or checksum is wrong")
