"""The record of one call: who called what, how it ended, what it used and how long it took. Never any content.

A contract like `proxy_config.py`. Each record is one line of the access log, which is the usage record too: one line,
not two. `proxy/` writes them; `local/usage_store.py` reads them back, on this machine or from a cluster's logs.
"""

from __future__ import annotations

import msgspec

NAME_LENGTH = 256
"""Characters of names that others chose; the rest is cut off."""
CONTEXT_BYTES = 2048
"""Of a `usage_context`; a longer one is left out."""
NO_TIME = 0.0
"""Left out of a line; this very object, since the encoder compares no values."""
_BEGIN = b'{"type":"call",'


class UsageRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="call"):
    """One call. What is empty is left out; times in milliseconds."""

    ts: str
    """When it ended, UTC."""
    id: str
    """The answer's `x-request-id`."""
    status: int
    """Of the answer; of a broken stream that of its error; 499 when the client left."""
    ms: float
    """How long it took."""
    endpoint: str = ""
    config_version: int = 0
    entity: str = ""
    provider: str = ""
    model: str = ""
    """The model as the provider calls it."""
    task: str = ""
    principal: str = ""
    error_code: str = ""
    stream: bool = False
    ttft_ms: float = NO_TIME
    """Of a stream: until its first byte came."""
    input_tokens: int | None = None
    """As the provider counted them; absent when it was silent."""
    output_tokens: int | None = None
    cached_tokens: int = 0
    """Part of the input."""
    reasoning_tokens: int = 0
    """Part of the output."""
    bytes_in: int = 0
    bytes_out: int = 0
    user_agent: str = ""
    client_request_id: str = ""
    """The client's own, from the body."""
    usage_context: dict[str, str] = {}
    """The client's own, from the body: what to book the call on."""
    process: str = ""
    """`router` for a call that reached no proxy."""


class RequestRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="management"):
    """A request that the router passed to management: no call, and no usage. What is empty is left out."""

    ts: str
    """When it ended, UTC."""
    id: str
    """The answer's `x-request-id`."""
    status: int
    """Of the answer; 499 when the client left."""
    ms: float
    """How long it took."""
    method: str
    path: str
    """Without its query."""
    bytes_in: int = 0
    user_agent: str = ""


_decode = msgspec.json.Decoder(UsageRecord).decode


def parse_line(line: bytes) -> UsageRecord | None:
    """The record in a line of a log, whatever a log collector put before it; None when there is none."""
    begin = line.find(_BEGIN)
    if begin < 0:
        return None
    try:
        return _decode(line[begin:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
