"""Retry-After of a provider, in seconds and as a date."""

from __future__ import annotations

import pytest

from model_serving.proxy.retry_after import delay_of, seconds_of

NOON = 1_763_812_800.0  # Sat, 22 Nov 2025 12:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(b"7", 7.0, id="seconds"),
        pytest.param(b" 0.5 ", 0.5, id="a part of a second"),
        pytest.param(b"0", 0.0, id="now"),
        pytest.param(b"Sat, 22 Nov 2025 12:00:30 GMT", 30.0, id="a date"),
        pytest.param(b"Saturday, 22-Nov-25 12:00:30 GMT", 30.0, id="a date in the old form"),
        pytest.param(b"Sat, 22 Nov 2025 11:00:00 GMT", 0.0, id="a date that has passed"),
        pytest.param(b"Sat, 22 Nov 2035 12:00:00 GMT", 86400.0, id="in ten years"),
        pytest.param(b"inf", 86400.0, id="for ever"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"-1", None, id="negative"),
        pytest.param(b"nan", None, id="no number"),
        pytest.param(b"soon", None, id="a word"),
        pytest.param(b"Sat, 99 Nov 2025 12:00:30 GMT", None, id="no date"),
        pytest.param(b"\xff\xfe", None, id="bytes"),
    ],
)
def test_seconds_of(value: bytes, seconds: float | None) -> None:
    assert seconds_of(value, NOON) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({b"retry-after": b"7"}, 7.0, id="the usual one"),
        pytest.param({b"retry-after-ms": b"1500", b"retry-after": b"2"}, 1.5, id="OpenAI's is more precise"),
        pytest.param({b"x-ms-retry-after-ms": b"250"}, 0.25, id="Azure's"),
        pytest.param({b"retry-after-ms": b"soon", b"retry-after": b"2"}, 2.0, id="one that is no number"),
        pytest.param({b"retry-after-ms": b"9" * 20}, 86400.0, id="for ever"),
        pytest.param({b"retry-after-ms": b"9" * 5000}, 86400.0, id="more digits than numbers have"),
        pytest.param({}, None, id="none"),
    ],
)
def test_delay_of(headers: dict[bytes, bytes], seconds: float | None) -> None:
    assert delay_of(headers, NOON) == seconds
