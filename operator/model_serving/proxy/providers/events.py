"""A vendor's stream as ours: cut into events, each translated. Common to all dialects that translate. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from model_serving.proxy.errors import ProxyError, Unavailable
from model_serving.proxy.sse import DONE, EventSplitter
from model_serving.proxy.usage import Usage

Event = tuple[bytes, bytes]
"""Its name (empty without) and its data."""
_NAMED = re.compile(rb"^event: (\S*)\ndata: ([^\n]*)\n\n", re.MULTILINE)
"""How vendors write events that have names; a third of the time that reading lines takes."""


class Translator(Protocol):
    """What the events of one stream mean. ProviderError for an error that the vendor sends amid the stream."""

    usage: Usage | None
    complete: bool
    """The vendor's end mark was seen, and nothing that matters can follow."""

    def event(self, name: bytes, data: bytes) -> bytes:
        """What the client gets for one event."""

    def end(self) -> bytes:
        """What the client gets last, before the end mark; may find that the stream is `complete` after all."""


class Splitter(Protocol):
    """Cuts bytes into events."""

    def feed(self, data: bytes) -> Iterable[Event]:
        """The events that are complete now. Unavailable for bytes that cannot be."""

    def close(self) -> Iterable[Event]:
        """What is left at the end."""


class SseEvents:
    """Server-sent events."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now."""
        events = self._splitter.feed(data)
        return _events(events) if events else []

    def close(self) -> list[Event]:
        """The last event, when its blank line is missing."""
        return _events(self._splitter.close())


class TranslatedStream:
    """A `sse.StreamTranslator` made of a splitter and a translator."""

    def __init__(self, translator: Translator, splitter: Splitter | None = None) -> None:
        self._translator = translator
        self._splitter: Splitter = splitter or SseEvents()

    @property
    def usage(self) -> Usage | None:
        """What the vendor has told of it so far."""
        return self._translator.usage

    @property
    def complete(self) -> bool:
        """The end mark was seen."""
        return self._translator.complete

    def feed(self, data: bytes) -> bytes:
        """What the client gets for `data`."""
        return self._translated(self._splitter.feed(data))

    def close(self) -> bytes:
        """The rest, and the end mark when the stream is complete."""
        rest = self._translated(self._splitter.close()) + self._translator.end()
        return rest + DONE if self._translator.complete else rest

    def _translated(self, events: Iterable[Event]) -> bytes:
        translator = self._translator
        told: list[bytes] = []
        try:
            for name, data in events:
                if translator.complete:
                    break
                told.append(translator.event(name, data))
        except ProxyError as fault:
            fault.before = b"".join(told)
            raise
        return b"".join(told)


def malformed(error: Exception) -> Unavailable:
    """A vendor's event that is not what its API says."""
    return Unavailable(f"the provider's stream is not what its API says: {error}")


def _events(events: bytes) -> list[Event]:
    if events.startswith(b"data: ") and events.find(b"\n") == len(events) - 2:  # one event on one line, as most are
        return [(b"", events[6:-2])]
    if events.startswith(b"event: "):
        named: list[Event] = _NAMED.findall(events)
        if 3 * len(named) == events.count(b"\n"):  # so they are all of this kind
            return named
    found = []
    for event in events.split(b"\n\n"):
        name, data = b"", []
        for line in event.split(b"\n"):
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                name = line[6:].strip()
        if data:
            found.append((name, data[0] if len(data) == 1 else b"\n".join(data)))
    return found
