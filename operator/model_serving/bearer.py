"""The token in an authorization header, as the data plane (`proxy`) and the REST API (`management`) read it.

Its scheme is Bearer, or Basic with the user `token`: that is what `curl -u token:$DATABRICKS_TOKEN` sends, which
Databricks' examples say.
"""

from __future__ import annotations

import binascii
import re

_BASIC_USER = b"token"
_VISIBLE = re.compile(rb"[\x21-\x7e]+")


def bearer_token(authorization: bytes) -> bytes:
    """The token in the value of an authorization header; empty when there is none."""
    scheme, _, shown = authorization.partition(b" ")
    if scheme.lower() == b"basic":
        return _password(shown.strip())
    return shown.strip() if scheme.lower() == b"bearer" else b""


def _password(shown: bytes) -> bytes:
    """The password of the user `token`. What no header could carry is none: tokens are shown to others in headers."""
    try:
        user, _, password = binascii.a2b_base64(shown, strict_mode=True).partition(b":")
    except binascii.Error:
        return b""
    return password if user == _BASIC_USER and _VISIBLE.fullmatch(password) else b""
