"""An HTTP proxy that makes tunnels, and notes for where; it can misbehave. It resolves every name to this machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class FakeHttpProxy:
    """Listens on a free port of this machine. Use as an async context manager."""

    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    tunnels: list[str] = field(default_factory=list)
    """The places that were asked for."""
    seen: bytes = b""
    """All that clients sent, the tunnels' contents included."""
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> FakeHttpProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen += head
            method, place, _ = head.split(b"\r\n")[0].decode().split(" ")
            assert method == "CONNECT"
            self.tunnels.append(place)
            writer.write(self.answer)
            if b" 200 " not in self.answer:
                return
            beyond = await asyncio.open_connection("127.0.0.1", int(place.rpartition(":")[2]))
            await asyncio.gather(self._pump(reader, beyond[1], note=True), self._pump(beyond[0], writer, note=False))
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool) -> None:
        try:
            while data := await reader.read(65536):
                if note:
                    self.seen += data
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
