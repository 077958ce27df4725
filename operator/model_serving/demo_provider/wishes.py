"""What a caller wants to go wrong: markers such as `[demo:status=503]` in the model's name or the last message.

Several wishes stand in one marker or in several: `[demo:events=100,pace=0.05]`. Called by `server.py`; pure.

    status=503      answer with this error          retry-after=7   ... and this many seconds in `Retry-After`
    delay=2         seconds before the first byte   stall=30        seconds of silence after the first event
    events=100      this many words                 pace=0.05       seconds between two events
    cut=3           drop the connection after three events (or amid the body when not streaming)
    open-end        end the stream without `[DONE]`
    garbage         answer something that is neither JSON nor events
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

_MARKER = re.compile(r"\[demo:([^\]]*)\]")
_MOST_EVENTS = 100_000
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """How to answer; the defaults are a good answer. Times in seconds."""

    status: int = 200
    retry_after: int | None = None
    delay: float = 0.0
    stall: float = 0.0
    events: int | None = None
    pace: float | None = None
    cut: int | None = None
    open_end: bool = False
    garbage: bool = False


class UnknownWishError(ValueError):
    """A marker that says nothing known; the text names it."""


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= _LONGEST_SECONDS:
        raise ValueError
    return value


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError
        return value

    return parse


_VALUES: dict[str, Callable[[str], Any]] = {
    "status": _number(400, 599),
    "retry-after": _number(0, 86_400),
    "delay": _seconds,
    "stall": _seconds,
    "events": _number(0, _MOST_EVENTS),
    "pace": _seconds,
    "cut": _number(0, _MOST_EVENTS),
}
_FLAGS = ("garbage", "open-end")


def parse_wish(*texts: str) -> Wish:
    """The wish that stands in `texts`; later markers win. Raises `UnknownWishError`."""
    wish = Wish()
    for marker in (marker for text in texts for marker in _MARKER.findall(text)):
        for item in filter(None, map(str.strip, marker.split(","))):
            wish = replace(wish, **_parse_item(item))
    return wish


def without_markers(text: str) -> str:
    """`text` as it is echoed."""
    return _MARKER.sub("", text).strip()


def _parse_item(item: str) -> dict[str, Any]:
    name, assigned, text = item.partition("=")
    field = name.replace("-", "_")
    if name in _FLAGS and not assigned:
        return {field: True}
    if name not in _VALUES:
        raise UnknownWishError(f"[demo:{item}] is not known; known are {', '.join((*_VALUES, *_FLAGS))}")
    try:
        return {field: _VALUES[name](text)}
    except ValueError:
        raise UnknownWishError(f"[demo:{item}]: the value of {name} is not a number in its range") from None
