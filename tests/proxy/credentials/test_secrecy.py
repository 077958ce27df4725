"""Secrets in other people's words: every spelling in which servers repeat what they were sent."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from model_serving.proxy.credentials.secrecy import redacted

SECRET = 'sk-test/canary+of the=vendor~"1"é'


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(SECRET, id="as it is"),
        pytest.param(f"Bearer {SECRET}", id="with its scheme"),
        pytest.param(SECRET * 2, id="twice"),
        pytest.param(json.dumps({"key": SECRET}), id="in JSON"),
        pytest.param(json.dumps({"key": SECRET}).replace("/", "\\/"), id="in JSON that escapes slashes"),
        pytest.param(json.dumps({"key": SECRET}).replace("canary", "c\\u0061n\\u0061ry"), id="in JSON with numbers"),
        pytest.param(json.dumps(json.dumps(SECRET)), id="in JSON within JSON"),
        pytest.param(quote(SECRET, safe=""), id="percent-encoded"),
        pytest.param(quote(SECRET), id="percent-encoded but for slashes"),
        pytest.param(quote_plus(SECRET), id="as a form holds it"),
        pytest.param(quote(SECRET, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")
                     .replace("%C3%A9", "%c3%a9"), id="percent-encoded in small letters"),
        pytest.param(SECRET.encode().hex(), id="in hexadecimal digits"),
        *(
            pytest.param(encode((before + SECRET + after).encode()).decode(), id=f"{encode.__name__} of {before!r}")
            for encode in (base64.b64encode, base64.urlsafe_b64encode)
            for before, after in (("", ""), (":", ""), ("u:", "."), ("Basic ", ".."))
        ),
    ],
)  # fmt: skip
def test_no_spelling_is_left(said: str) -> None:
    clean = redacted(b"before " + said.encode() + b" after", [SECRET]).decode()
    assert "[redacted]" in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")
    recognisable = [
        SECRET[:12], quote(SECRET[:12], safe=""), SECRET.encode().hex()[8:24],
        *(base64.b64encode(b"\0" * at + SECRET.encode())[4:-8].decode() for at in range(3)),
    ]  # fmt: skip
    assert not [part for part in recognisable if part in clean]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a harmless text with the letters abc", id="text"),
        pytest.param("YWJj", id="what a short secret would be in base64"),
        pytest.param("616263", id="and in digits"),
    ],
)
def test_other_words_stay(text: str) -> None:
    assert redacted(text.replace("abc", "").encode(), ["abc", ""]) == text.replace("abc", "").encode()


@pytest.mark.parametrize("text", ["a\\u0061", "\\u0061", "\\\\u0061", '"', "\\", "\x7f", "é", "\\\\"])
def test_json_means_the_same_afterwards(text: str) -> None:
    for spelt in (json.dumps(text), json.dumps(text).replace("a", "\\u0061")):
        before = spelt.encode()
        try:
            meant = json.loads(before)
        except ValueError:
            continue
        assert json.loads(redacted(before, ["sk-test-canary"])) == meant


def test_a_secret_that_is_a_part_of_another_does_not_save_it() -> None:
    assert redacted(b"sk-test-12345678", ["sk-test", "sk-test-12345678"]) == b"[redacted]"
