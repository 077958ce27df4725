"""Taking secrets out of text that others wrote: as they are, and in the forms in which text may hold them. Pure.

Used for providers' errors by `upstream.py` and `store.py`. A provider knows our key and could disguise it in a thousand
ways; this is about those that repeat what they were sent, as servers, gateways and balancers do.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

REDACTED = b"[redacted]"
"""What stands where a secret stood."""
_PERCENT = re.compile("%..")
_ESCAPED = re.compile(rb"(?<!\\)((?:\\\\)*)\\u00([2-7][0-9a-fA-F])")
"""A letter that JSON spells by its number: it may be spelled so anywhere, and some encoders always spell some so."""
LEAST_FORM = 8
"""Characters that another form must have: shorter ones would be found in anything."""


def redacted(text: bytes, secrets: Iterable[str]) -> bytes:
    """`text` without these secrets."""
    if b"\\u00" in text:
        text = _ESCAPED.sub(_letter, text)
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        for form in _forms(secret):
            if form in text:
                text = text.replace(form, REDACTED)
    return text


def _letter(escaped: re.Match[bytes]) -> bytes:
    letter = bytes.fromhex(escaped[2].decode())
    return escaped[0] if letter in (b'"', b"\\", b"\x7f") else escaped[1] + letter


@lru_cache(maxsize=64)
def _forms(secret: str) -> tuple[bytes, ...]:
    """The secret itself first, then what other spellings of it share, the longest first."""
    raw = secret.encode()
    others = {form for form in _spellings(raw, secret) if len(form) >= LEAST_FORM and form != raw}
    return tuple(form for form in (raw, *sorted(others, key=len, reverse=True)) if form)


def _spellings(raw: bytes, secret: str) -> Iterator[bytes]:
    for encoded in (quote(secret, safe=""), quote_plus(secret), quote(secret)):
        yield from (encoded.encode(), _PERCENT.sub(lambda found: found[0].lower(), encoded).encode())
    escaped = json.dumps(secret)[1:-1]
    yield from (escaped.encode(), escaped.replace("/", "\\/").encode(), json.dumps(escaped)[1:-1].encode())
    yield from (raw.hex().encode(), raw.hex().upper().encode())
    for before in range(3):  # within longer text, such as `user:SECRET`, it begins at any place of a group of three
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * before + raw)[first:last]
