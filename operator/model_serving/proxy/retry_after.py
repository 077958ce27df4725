"""What a provider's `Retry-After` means, for clients that read whole seconds only. Pure; used by `upstream.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

MOST_SECONDS = 86400.0


MILLISECONDS = (b"retry-after-ms", b"x-ms-retry-after-ms")
"""Headers of OpenAI and Azure that say it more precisely."""


def delay_of(headers: Mapping[bytes, bytes], wall: float) -> float | None:
    """The seconds that an answer asks to wait, in whichever header; None when it does not."""
    for name in MILLISECONDS:
        value = headers.get(name, b"")
        if value.strip().isdigit():
            return min(float(value) / 1000, MOST_SECONDS)
    return seconds_of(headers.get(b"retry-after", b""), wall)


def seconds_of(value: bytes, wall: float) -> float | None:
    """The seconds that a header's value asks to wait at the time `wall` (since the epoch); at most a day.

    It is a number, or a date of which the past counts as now. None when it is neither. Source: RFC 9110, 10.2.3.
    """
    text = value.decode("latin-1").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, wall)
    if math.isnan(seconds) or seconds < 0:
        return None
    return min(seconds, MOST_SECONDS)


def _until(date: str, wall: float) -> float:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - wall)
    except (ValueError, TypeError, OverflowError):
        return math.nan
