"""What h11, a well-kept implementation with nothing in common with the code under test, makes of the same bytes.

h11 mends some of what we refuse (bare line feeds, folded lines, a length beside a coding), so it is asked only
whether it agrees with what *we* accept.
"""

from __future__ import annotations

import h11

from tests.fuzz.oracle import Message, Reading, plain

LARGE = 1 << 24


def read_requests(data: bytes) -> Reading:
    """All requests of a connection, as h11 reads them."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGE)
    connection.receive_data(data.lstrip(b"\r\n"))
    reading = Reading()
    while True:
        try:
            message = _next(connection)
        except h11.RemoteProtocolError as error:
            reading.fault = str(error)
            return reading
        if message is None:
            return reading
        reading.messages.append(message)
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        if message.last or connection.our_state is not h11.DONE:
            return reading
        rest, _ = connection.trailing_data
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGE)
        connection.receive_data(rest.lstrip(b"\r\n"))


def read_answer(data: bytes, ended: bool) -> Reading:
    """The final answer to a POST, as h11 reads it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGE)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "t"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data.lstrip(b"\r\n"))
    if ended:
        connection.receive_data(b"")
    reading = Reading()
    try:
        message = _next(connection)
    except h11.RemoteProtocolError as error:
        reading.fault = str(error)
        return reading
    if message is not None:
        reading.messages.append(message)
        reading.rest = connection.trailing_data[0]
    return reading


def _next(connection: h11.Connection) -> Message | None:
    """The next complete message; None when there is none."""
    head: h11.Request | h11.Response | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise h11.RemoteProtocolError(f"{'head' if head is None else 'body'}: {error}") from None
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return None
        if isinstance(event, h11.Request | h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return _message(connection, head, body)


def _message(connection: h11.Connection, head: h11.Request | h11.Response, body: bytes) -> Message:
    start = (head.method, head.target) if isinstance(head, h11.Request) else (b"%d" % head.status_code,)
    headers: dict[bytes, bytes] = {}
    for name, value in head.headers:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return Message(start, plain(headers), body, connection.their_state in (h11.MUST_CLOSE, h11.CLOSED))
