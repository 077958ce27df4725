"""Tokens in authorization headers: what counts as one, for calls and for the REST API alike."""

from __future__ import annotations

from base64 import b64encode

import pytest

from model_serving.bearer import bearer_token


def basic(text: bytes) -> bytes:
    return b"Basic " + b64encode(text)


HEADERS = {
    "bearer": (b"Bearer t1", b"t1"),
    "in any letter case": (b"bEaReR  t1 ", b"t1"),
    "the user token of curl -u": (basic(b"token:t1"), b"t1"),
    "basic in any letter case": (b"bAsIc  dG9rZW46dDE=", b"t1"),
    "a token with colons": (basic(b"token:a:b"), b"a:b"),
    "another user": (basic(b"ada:t1"), b""),
    "no password": (basic(b"token:"), b""),
    "no colon": (basic(b"token"), b""),
    "a password of two lines": (basic(b"token:t1\r\nx-more: yes"), b""),
    "a password with a space": (basic(b"token:t 1"), b""),
    "a password beyond ASCII": (basic("token:\u00e9".encode()), b""),
    "no base64": (b"Basic token:t1", b""),
    "base64 with more behind it": (basic(b"token:t1") + b"!", b""),
    "another scheme": (b"Digest t1", b""),
    "no scheme": (b"t1", b""),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("case", HEADERS)
def test_the_token_of_a_header(case: str) -> None:
    header, token = HEADERS[case]
    assert bearer_token(header) == token
