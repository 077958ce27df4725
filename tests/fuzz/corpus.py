"""The valid messages that mutations start from."""

from __future__ import annotations

import json

_HEAD = b"POST /serving-endpoints/ep/invocations HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer key-of-ada\r\n"
_BODY = b'{"messages": [{"role": "user", "content": "hello"}]}'
_SHORT = b"POST /a HTTP/1.1\r\nHost: t\r\n"
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_ANSWER = json.dumps({"id": "x", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()


def chunked(body: bytes, size: int = 7, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """A body in chunks of `size` bytes."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"


def sized(body: bytes) -> bytes:
    """A body with its length in front."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


_LARGE = b"x" * 20_000  # the memory of such bodies is counted
_LARGE_JSON = b'{"choices": [], "x": "%b"}' % _LARGE
_OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
_CODED = b"Transfer-Encoding: chunked\r\n\r\n"

REQUESTS: list[bytes] = [
    b"GET / HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET http://t/a?b=c HTTP/1.1\r\nHost: t\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n",
    b"HEAD /a HTTP/1.1\r\nHost: t\r\nAccept: a\r\nAccept: b\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, x\r\nX:\r\nY: \xc3\xa9\t \r\n\r\n",
    _SHORT + sized(b"hello"),
    _SHORT + sized(b""),
    _SHORT + sized(b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    _SHORT + b"Expect: 100-continue\r\n" + sized(b"hello"),
    _SHORT + _CODED + chunked(b"hello, hello"),
    _SHORT + _CODED + chunked(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n", 100),
    _SHORT + _CODED + chunked(b"hello", 2, b";a=b", b"X: y\r\n"),
    _SHORT + _CODED + chunked(b"hello", 2, b';a="b;c"', b"X-Length: 3\r\n"),
    _SHORT + _CODED + chunked(b""),
    _SHORT + _OFFER + sized(b"hello"),
    b"GET / HTTP/1.1\r\nHost: t\r\n" + _OFFER + b"\r\n",
    _HEAD + sized(_BODY),
    _HEAD + _CODED + chunked(_BODY, 20),
    _SHORT + sized(_LARGE),
    _SHORT + _CODED + chunked(_LARGE, 9000),
]

CALLS: list[bytes] = [
    _HEAD + sized(_BODY),
    _HEAD + _CODED + chunked(_BODY, 20),
    _HEAD + _CODED + chunked(_BODY, 1, b";a=b", b"X: y\r\n"),
    _HEAD + b"Connection: close\r\n" + sized(_BODY),
    _HEAD + _OFFER + sized(_BODY),
    _HEAD.replace(b"1.1", b"1.0") + sized(_BODY),
    _HEAD + sized(_BODY.replace(b"hello", b"hello" + _LARGE)),
    _HEAD + b"X-Request-Id: abc\r\nExpect: 100-continue\r\n" + sized(_BODY),
]

ANSWERS: list[bytes] = [
    _OK + sized(_ANSWER),
    _OK + _CODED + chunked(_ANSWER, 30),
    _OK + _CODED + chunked(_ANSWER, 9, b";x", b"X: y\r\n"),
    _OK + b"Connection: close\r\n" + sized(_ANSWER),
    _OK + b"Connection: close\r\n\r\n" + _ANSWER,
    _OK + b"\r\n" + _ANSWER,
    b"HTTP/1.0 200 OK\r\n" + sized(_ANSWER),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + sized(_ANSWER),
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _OK + sized(_ANSWER),
    b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + _CODED + chunked(_ANSWER, 30),
    _OK + sized(_LARGE_JSON),
    _OK + _CODED + chunked(_LARGE_JSON, 9000),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 429 \r\nRetry-After: 7\r\n" + sized(b"{}"),
    b"HTTP/1.1 503 Gone\r\nKeep-Alive: timeout=5, max=9\r\n" + sized(b"no"),
]

_EVENTS = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: {"choices": []}\n\ndata: [DONE]\n\n'
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"

STREAMS: list[bytes] = [
    _STREAM + _CODED + chunked(_EVENTS, 40),
    _STREAM + _CODED + chunked(_EVENTS, 1),
    _STREAM + b"Connection: close\r\n\r\n" + _EVENTS,
    _STREAM + sized(_EVENTS),
]
