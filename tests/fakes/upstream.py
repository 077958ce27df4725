"""A provider that speaks OpenAI's API over real sockets, and misbehaves on request.

Behaves like the thing by default: chat, completions and embeddings, whole and streamed, usage only when asked for. A
test puts scripts into `scripts`: each answers one request in its own way; when none is left the default answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

WORDS = ("The ", "model ", "is ", "serving.")


@dataclass
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """A header's value."""
        return next((value for key, value in self.headers if key.lower() == name), None)


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FakeUpstream:
    """A provider on a free port of this machine. Use as an async context manager."""

    keys: set[str] | None = None
    """Bearer tokens that are accepted; None accepts all."""
    scripts: list[Script] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    """Connections that have ended."""
    port: int = 0
    tls: Any = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> FakeUpstream:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self.tls, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def base(self) -> str:
        """The base URL of its API."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                script = self.scripts.pop(0) if self.scripts else self._answer
                await script(request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        token = (request.header("authorization") or "").removeprefix("Bearer ")
        if self.keys is not None and token not in self.keys:
            await whole(401, {"error": {"message": f"Incorrect API key provided: {token}", "type": "invalid_request_error", "code": "invalid_api_key", "param": None}})(request, writer)  # fmt: skip # noqa: E501
            return
        body = request.json
        if body.get("stream"):
            await stream(events_of(request))(request, writer)
        else:
            await whole(200, answer_of(request))(request, writer)


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *rest = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in rest)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(method, path, headers, await reader.readexactly(length))


def answer_of(request: Received) -> dict[str, Any]:
    """The whole answer to a request."""
    body = request.json
    usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    if "input" in body:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [{"object": "embedding", "index": i, "embedding": [0.25, -0.5, 1.0]} for i, _ in enumerate(inputs)]
        return {
            "object": "list", "data": data, "model": body.get("model", "fake"),
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        }  # fmt: skip
    text = "".join(WORDS)
    if "messages" in body:
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
        kind = "chat.completion"
    else:
        choice, kind = {"text": text, "logprobs": None}, "text_completion"
    return {
        "id": "x-1", "object": kind, "created": 1700000000, "model": body.get("model", "fake"),
        "choices": [{"index": 0, "finish_reason": "stop", **choice}], "usage": usage,
    }  # fmt: skip


def events_of(request: Received) -> list[bytes]:
    """The events of a streamed answer, end mark included."""
    body = request.json
    chat = "messages" in body
    asked = (body.get("stream_options") or {}).get("include_usage") is True
    base = {
        "id": "x-1",
        "object": "chat.completion.chunk" if chat else "text_completion",
        "model": body.get("model", "fake"),
    }
    events = []
    for word in WORDS:
        choice = {"index": 0, "finish_reason": None, **({"delta": {"content": word}} if chat else {"text": word})}
        events.append(base | {"created": 1, "choices": [choice]} | ({"usage": None} if asked else {}))
    if asked:
        usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
        events.append(base | {"created": 1, "choices": [], "usage": usage})
    return [event(item) for item in events] + [b"data: [DONE]\n\n"]


def event(item: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(item, separators=(",", ":")).encode() + b"\n\n"


# Scripts


def whole(status: int, body: Any, **headers: str) -> Script:
    """A complete answer; a body that is bytes goes out as it is."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{lines}content-length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)

    return script


def raw(*pieces: bytes, close: bool = False, abort: bool = False) -> Script:
    """These bytes, one write each; then nothing, the end of the connection, or its reset."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if abort:
            writer.transport.abort()
        elif close:
            writer.close()

    return script


def stream(events: list[bytes], pause: float = 0.0, end: bool = True) -> Script:
    """A chunked event stream; without `end` the connection closes in the middle of the transfer."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for item in events:
            writer.write(b"%x\r\n%b\r\n" % (len(item), item))
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            writer.close()

    return script


def silence(seconds: float = 60.0) -> Script:
    """No answer for a long time."""

    async def script(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)

    return script
