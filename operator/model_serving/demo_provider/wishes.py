"""What a caller wants to go wrong: markers such as `[demo:status=503]` in the model's name or the last message.

Several wishes stand in one marker or in several: `[demo:events=100,pace=0.05]`. Called by `server.py`; pure.

    status=503      answer with this error          retry-after=7   ... and this many seconds in `Retry-After`
    retry-date=7    ... the same as a date
    delay=2         seconds before the first byte   stall=30        seconds of silence after the first event
    events=100      this many words                 pace=0.05       seconds between two events
    cut=3           drop the connection after three events (or amid the body when not streaming)
    cut-head        drop it before the first byte   cut-mid-head    ... amid the head
    cut-chunk       drop it after the header of a chunk (or after the head when not streaming)
    reset           let what is dropped be a reset rather than an orderly end
    open-end        end the stream without `[DONE]`
    never-end       keep the connection open after the last event (or the body's half)
    slow=0.01       one byte at a time, with so many seconds between them
    too-long        say a length that is larger than the body, and end
    too-short       say a length that is smaller than the body
    head=100000     a head of so many bytes
    type=text/html  this content type              broken-json     a body that is cut off, its length right
    garbage         answer something that is neither JSON nor events
    babble          answer something that is not even HTTP
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

_MARKER = re.compile(r"\[demo:([^\]]*)\]")
_MOST_EVENTS = 100_000
_LONGEST_SECONDS = 3600.0
_MOST_HEAD_BYTES = 10_000_000
_TYPE = re.compile(r"[a-z]+/[a-z.+-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Wish:
    """How to answer; the defaults are a good answer. Times in seconds."""

    status: int = 200
    retry_after: int | None = None
    retry_date: int | None = None
    delay: float = 0.0
    stall: float = 0.0
    events: int | None = None
    pace: float | None = None
    cut: int | None = None
    cut_head: bool = False
    cut_mid_head: bool = False
    cut_chunk: bool = False
    reset: bool = False
    open_end: bool = False
    never_end: bool = False
    slow: float | None = None
    too_long: bool = False
    too_short: bool = False
    head: int = 0
    type: str = ""
    broken_json: bool = False
    garbage: bool = False
    babble: bool = False

    @property
    def by_hand(self) -> bool:
        """Whether the answer is not proper HTTP in proper time, so that no HTTP library can give it."""
        cuts = self.cut_head or self.cut_mid_head or self.cut_chunk or self.reset
        lies = self.too_long or self.too_short or self.babble
        return cuts or lies or self.never_end or self.slow is not None or self.head > 0


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


def _type(text: str) -> str:
    if not _TYPE(text):
        raise ValueError
    return text


_VALUES: dict[str, Callable[[str], Any]] = {
    "status": _number(400, 599),
    "retry-after": _number(0, 86_400),
    "retry-date": _number(0, 86_400),
    "delay": _seconds,
    "stall": _seconds,
    "events": _number(0, _MOST_EVENTS),
    "pace": _seconds,
    "cut": _number(0, _MOST_EVENTS),
    "slow": _seconds,
    "head": _number(0, _MOST_HEAD_BYTES),
    "type": _type,
}
_FLAGS = (
    "cut-head", "cut-mid-head", "cut-chunk", "reset", "open-end", "never-end", "too-long", "too-short", "broken-json",
    "garbage", "babble",
)  # fmt: skip


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
        what = "no content type" if name == "type" else "not a number in its range"
        raise UnknownWishError(f"[demo:{item}]: the value of {name} is {what}") from None
