"""Sockets without an operating system: transports that keep what is written, and a loop that dials them.

Used by `hot_path.py`: what is measured there is our own code and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop


class StubTransport:
    """One end of a connection. `written`: what the protocol has sent since `take` was called last."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol
        self.written: list[bytes] = []
        self.closed = False
        protocol.connection_made(self)  # type: ignore[arg-type]

    def feed(self, data: bytes) -> None:
        """The other side has sent something."""
        protocol: Any = self.protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        while data:
            buffer: Any = protocol.get_buffer(len(data))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]

    def take(self) -> bytes:
        """What has been sent, which is then forgotten."""
        sent = b"".join(self.written)
        self.written.clear()
        return sent

    # What protocols ask of a transport

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.written.extend(parts)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def lose(self) -> None:
        """The connection ends."""
        self.closed = True
        self.protocol.connection_lost(None)
        del self.protocol  # as the real ones do

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Nothing comes unasked anyway."""

    def resume_reading(self) -> None:
        """Nothing comes unasked anyway."""

    def is_reading(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Whatever is written is taken at once."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class StubLoop(uvloop.Loop):
    """The real loop, but each connection that is dialled leads to a stub, the last of which is `dialled`."""

    dialled: StubTransport | None = None

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.BaseProtocol], *_: Any, **__: Any
    ) -> tuple[StubTransport, asyncio.BaseProtocol]:
        """A connection to nobody."""
        protocol = factory()
        self.dialled = StubTransport(protocol)
        return self.dialled, protocol
