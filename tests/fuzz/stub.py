"""An event loop and transports without sockets: what is written is kept, what is read is fed.

As strict as the real ones: writing after the end of writing raises, nothing arrives while reading is paused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast


class StubTransport(asyncio.Transport):
    """One end of a connection that is nowhere."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.sent = bytearray()
        self.seen = 0
        """How much of it has been looked at (kept by who looks)."""
        self.finished = False
        """Our side has ended: nothing more will be written."""
        self.lost = False
        self.slow = False
        """The other side reads only when told to (`drain`)."""
        self.tls = False
        """Our side cannot end alone."""
        self._unsent = 0
        self._closing = self._aborted = self._full = False
        self._paused = False
        self._arrived: deque[bytes] = deque()
        protocol.connection_made(self)

    def arrive(self, data: bytes) -> None:
        """Bytes come from the other side."""
        self._arrived.append(data)
        self._hand_over()

    def hang_up(self, error: Exception | None = None) -> None:
        """The other side is gone, after all that it has sent was read."""
        self._hand_over()
        self._lose(error)

    def settle(self) -> None:
        """What the loop does after a callback: tells of a loss, hands over what was held back."""
        self._hand_over()
        if self._closing and (self._aborted or not self._unsent):
            self._lose(None)

    def drain(self) -> None:
        """The other side reads all that was written."""
        self._unsent = 0
        if self._full and not self.lost:
            self._full = False
            cast(asyncio.Protocol, self.protocol).resume_writing()

    def _hand_over(self) -> None:
        while self._arrived and not self._paused and not self._closing:
            data = self._arrived.popleft()
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                self._fill(self.protocol, data)
            else:
                cast(asyncio.Protocol, self.protocol).data_received(data)

    def _fill(self, protocol: asyncio.BufferedProtocol, data: bytes) -> None:
        while data:
            buffer = memoryview(protocol.get_buffer(len(data))).cast("B")
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    def _lose(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = self._closing = self.finished = True
            self.protocol.connection_lost(error)

    # What protocols ask of a transport

    def write(self, data: Any) -> None:
        if self.finished:
            raise RuntimeError("written after the end of writing")
        if self._closing:
            return
        self.sent += data
        if self.slow:
            self._unsent += len(data)
            if not self._full:
                self._full = True
                cast(asyncio.Protocol, self.protocol).pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if self.tls:
            raise NotImplementedError
        self.finished = True

    def can_write_eof(self) -> bool:
        return not self.tls

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = self._aborted = True

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False

    def is_reading(self) -> bool:
        return not self._paused

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class StubLoop(asyncio.SelectorEventLoop):
    """A loop whose outgoing connections are stubs; `dialled` has them."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[StubTransport] = []

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    async def create_connection(self, protocol_factory: Callable[[], Any], *_: Any, **__: Any) -> Any:
        transport = StubTransport(protocol_factory())
        self.dialled.append(transport)
        return transport, transport.protocol


async def turn(times: int = 6) -> None:
    """Lets the loop do what is due."""
    for _ in range(times):
        await asyncio.sleep(0)
