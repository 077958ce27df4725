"""A TLS transport that is given no more than the client takes. Used by `connection.py` where the server speaks TLS.

The loop's TLS transport hands all that is written to the socket's own transport, whose buffer nobody can see: who reads
slowly would seem to have read everything, and would get only as much of a last answer as fits into the moment that is
meant for the farewell. So what is large goes in pieces, each when the one before is not held back.
"""

from __future__ import annotations

import asyncio
from collections import deque

PIECE_BYTES = 1024 * 1024


class PacedTransport:
    """The part of a transport that a connection uses; its protocol must call `go_on` when it may write again."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=1, low=0)  # all that is held back there counts
        self._rest: deque[memoryview] = deque()
        self._rest_bytes = 0
        self._soon: asyncio.Handle | None = None
        self._closing = False
        self.abort = transport.abort
        self.can_write_eof = transport.can_write_eof
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Sends `data` as soon as the client takes it."""
        if not self._rest and len(data) <= PIECE_BYTES:
            self._transport.write(data)
            return
        view = memoryview(data)
        self._rest.extend(view[at : at + PIECE_BYTES] for at in range(0, len(view), PIECE_BYTES))
        self._rest_bytes += len(view)
        self.go_on()

    def go_on(self) -> None:
        """Sends the next piece, unless one is held back or will be sent soon; closes behind the last one."""
        if self._soon is not None:
            return
        if self._transport.is_closing():
            self._rest.clear()
            self._rest_bytes = 0
            return
        if self._rest and not self._transport.get_write_buffer_size():
            piece = self._rest.popleft()
            self._rest_bytes -= len(piece)
            self._transport.write(piece)
        if self._transport.get_write_buffer_size():
            return
        if self._rest:  # whether the socket takes more is known when the loop has come round
            self._soon = asyncio.get_running_loop().call_soon(self._continue)
        elif self._closing:
            self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken."""
        return self._rest_bytes + self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be when all is sent."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Closes the connection when all is sent."""
        if self.get_write_buffer_size():
            self._closing = True
        else:
            self._transport.close()

    def _continue(self) -> None:
        self._soon = None
        self.go_on()
