"""Server-sent events: splitting, reading usage, noticing the end mark. Sans-I/O: `feed` bytes, then `close`.

Format: WHATWG HTML, section 9.2. OpenAI-compatible streams end with `data: [DONE]`; a stream without it was cut off,
however its transfer ended. Clients of chat and completions can read `data:` and blank lines only: other lines are
left out.
"""

from __future__ import annotations

import re
from typing import Protocol

from model_serving.proxy.errors import Unavailable
from model_serving.proxy.usage import Usage, read_usage

EVENT_STREAM = b"text/event-stream"
DONE = b"data: [DONE]\n\n"
MAX_EVENT_BYTES = 16 * 1024 * 1024
_PIECES = 4096  # kept apart before they are joined: an upstream may send a byte at a time
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_SPECIAL = (b'"usage":{', b'"usage": {', b"DONE]")
"""What makes an event worth a look. Plain bytes, since each byte of each stream is searched: a regular expression
takes ten times as long. JSON on one line is spelled in one of these two ways."""


class StreamTranslator(Protocol):
    """A provider's stream on its way to the client."""

    @property
    def usage(self) -> Usage | None:
        """What the provider has told of it so far."""

    @property
    def complete(self) -> bool:
        """The end mark was seen."""

    def feed(self, data: bytes) -> bytes:
        """What the client gets for `data`; the end mark is held back."""

    def close(self) -> bytes:
        """What the client gets last, after the transfer has ended properly."""


class EventSplitter:
    """Cuts a byte stream into whole events, with line ends made equal; keeps what is not complete yet."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # joined only when an event ends: a huge one comes in thousands of pieces
        self._held = 0
        self._half = b""

    def feed(self, data: bytes) -> bytes:
        """All events that are complete now, each ending in a blank line. Unavailable when one is far too large."""
        if self._half or b"\r" in data:
            data, self._half = _equal_line_ends(self._half + data)
        if not data:
            return b""
        seam = self._pieces[-1][-1:] if self._pieces else b""
        self._pieces.append(data)
        self._held += len(data)
        events = b""
        if b"\n\n" in data or seam == b"\n" == data[:1]:
            whole = b"".join(self._pieces)
            cut = whole.rfind(b"\n\n") + 2
            events = whole[:cut]
            self._hold(whole[cut:])
        elif len(self._pieces) > _PIECES:
            self._hold(b"".join(self._pieces))
        if self._held > MAX_EVENT_BYTES:
            raise Unavailable(f"an event of the upstream's stream is larger than {MAX_EVENT_BYTES} bytes")
        return events

    def close(self) -> bytes:
        """The last event, when its blank line is missing."""
        tail = b"".join(self._pieces).rstrip(b"\n")
        self._hold(b"")
        self._half = b""
        return tail + b"\n\n" if tail else b""

    def _hold(self, rest: bytes) -> None:
        self._pieces = [rest] if rest else []
        self._held = len(rest)


class PassThrough:
    """A stream that the client can read as it is: events are forwarded untouched, usage is read on the way."""

    def __init__(self, hide_usage: bool) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self._hide_usage = hide_usage
        self._splitter = EventSplitter()

    def feed(self, data: bytes) -> bytes:
        """What the client gets for `data`."""
        events = self._splitter.feed(data)
        if not events or self.complete:
            return b""
        if not _is_plain(events):
            return self._filtered(events)
        cut = _first_special(events)
        return events[:cut] + self._filtered(events[cut:]) if cut < len(events) else events

    def close(self) -> bytes:
        """The rest, and the end mark when the stream had one."""
        tail = self._splitter.close()
        rest = self._filtered(tail) if tail and not self.complete else b""
        return rest + DONE if self.complete else rest

    def _filtered(self, events: bytes) -> bytes:
        return b"".join([self._event(event) for event in events.split(b"\n\n") if event])

    def _event(self, event: bytes) -> bytes:
        lines = [line for line in event.split(b"\n") if line.startswith(b"data:")]
        if not lines or self.complete:
            return b""
        payload = b"\n".join([line[5:].removeprefix(b" ") for line in lines])
        if payload.strip() == b"[DONE]":
            self.complete = True
            return b""
        if _USAGE.search(payload):
            usage, alone = read_usage(payload)
            self.usage = usage or self.usage
            if alone and self._hide_usage:
                return b""
        return b"\n".join(lines) + b"\n\n"


def _is_plain(events: bytes) -> bool:
    """Whether all events are one `data:` line each: the common case, kept fast."""
    return events.startswith(b"data:") and events.count(b"\n") == 2 * (events.count(b"\n\ndata:") + 1)


def _first_special(events: bytes) -> int:
    """Where the first event begins that carries usage or the end mark; the end when none does."""
    found = [at for at in map(events.find, _SPECIAL) if at >= 0]
    if not found:
        return len(events)
    before = events.rfind(b"\n\n", 0, min(found))
    return before + 2 if before >= 0 else 0


def _equal_line_ends(data: bytes) -> tuple[bytes, bytes]:
    """`data` with `\\n` alone, and a trailing `\\r` that may be half of a line end."""
    half = b"\r" if data.endswith(b"\r") else b""
    return data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n"), half
