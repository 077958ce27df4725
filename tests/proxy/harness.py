"""A proxy in the test's own event loop, and a small client that sees every byte."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from model_serving.proxy.app import ProxyService
from model_serving.proxy.control import Message
from model_serving.proxy.http.server import Server, listen
from model_serving.proxy.process import Service
from model_serving.proxy.settings import ProcessSettings, ProxySettings
from model_serving.proxy_config import CredentialFile, Grant, Limit, Policy, ProxyConfig, Target

CHAT = "llm/v1/chat"
TOKEN = "key-of-ada"
AUTH = f"Bearer {TOKEN}"
SECRET = "sk-upstream-canary"
MESSAGES = [{"role": "user", "content": "hello"}]


def write(path: Path, content: str | bytes) -> None:
    """Writes a file the way platforms do: beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(".new")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.rename(path)


def target(base: str, **changes: Any) -> Target:
    """An `openai` target with its key in Secret `vendor`, key `token`."""
    values: dict[str, Any] = {
        "entity": "gpt",
        "provider": "openai",
        "task": CHAT,
        "model": "gpt-real",
        "settings": {"openai_api_base": base},
        "credentials": {"openai_api_key": CredentialFile("vendor", "token")},
    }
    return Target(**(values | changes))


def policy(**changes: Any) -> Policy:
    """A policy that lets ada query local upstreams."""
    values: dict[str, Any] = {
        "version": "p1",
        "grants": [Grant("user", "ada", "CAN_QUERY")],
        "upstream_leave": "local",
    }
    return Policy(**(values | changes))


@dataclass
class Files:
    """The files below a proxy's root."""

    root: Path

    def config(self, targets: Sequence[Target], **changes: Any) -> None:
        """Writes config.json."""
        values: dict[str, Any] = {"endpoint": "ep", "config_version": 3, "revision": "rev-1", "targets": list(targets)}
        write(self.root / "config/config.json", msgspec.json.encode(ProxyConfig(**(values | changes))))

    def policy(self, **changes: Any) -> None:
        """Writes policy.json."""
        write(self.root / "policy/policy.json", msgspec.json.encode(policy(**changes)))

    def secret(self, value: str, name: str = "vendor", key: str = "token") -> None:
        """Writes one credential."""
        write(self.root / "secrets" / name / key, value)

    def key(self, token: str = TOKEN, principal: str = "ada", groups: Sequence[str] = ()) -> None:
        """Writes one API key."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        write(self.root / "api-keys" / digest, json.dumps({"principal": principal, "groups": list(groups)}))

    def usual(self, base: str, limits: Sequence[Limit] = (), **config: Any) -> None:
        """Everything that a proxy with one chat target needs."""
        self.config([target(base)], **config)
        self.policy(limits=list(limits))
        self.secret(SECRET)
        self.key()


@dataclass
class Running:
    """A service that listens in this loop and ticks fast. Use as an async context manager."""

    service: Service
    port: int = 0
    admin_port: int = 0
    _listeners: list[asyncio.Server] = field(default_factory=list)
    _ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Running:
        self.tick()
        for server in (self.service.data, self.service.admin):
            self._listeners.append(await listen(server, "127.0.0.1", 0))
        self.port, self.admin_port = (listener.sockets[0].getsockname()[1] for listener in self._listeners)
        self.service.listening()
        self._ticking = asyncio.get_running_loop().create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._ticking is not None
        self._ticking.cancel()
        for listener in self._listeners:
            listener.close()
        self.service.end()
        for server in (self.service.data, self.service.admin):
            drop(server)
        await asyncio.sleep(0.01)

    def tick(self) -> None:
        """Lets the service look at clock and files now."""
        self.service.tick(asyncio.get_running_loop().time(), time.time())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.tick()


def drop(server: Server) -> None:
    """Ends all connections of a server."""
    for connection in list(server.connections):
        connection.abort()


def proxy(files: Files, **settings: Any) -> Running:
    """A proxy over these files, believing the router key `shared`."""
    process = settings.pop("process", ProcessSettings())
    service = ProxyService(ProxySettings(root=files.root, process=process, **settings))
    service.message(Message(router_key="shared"))
    return Running(service)


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def request_bytes(method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """A request with Host, authorization and length unless `headers` say otherwise."""
    lines = {"host": "test", "authorization": AUTH} | dict(headers or {})
    if body is not None and not any(name.lower() == "transfer-encoding" for name in lines):
        lines.setdefault("content-length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value != "")
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One answer; a chunked body is unframed. IncompleteReadError when it is cut off."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)).decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split(" ")[1])
    if status == 100:
        return await read_answer(reader)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await asyncio.wait_for(reader.readline(), 15)).strip() or b"0", 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Answer(status, headers, body)


async def call(
    port: int, path: str, body: Any = None, headers: Mapping[str, str] | None = None, method: str = ""
) -> Answer:
    """One request on a connection of its own."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request_bytes(method or ("GET" if content is None else "POST"), path, content, headers))
        return await read_answer(reader)
    finally:
        writer.close()


async def chat(port: int, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
    """A chat call to endpoint `ep`."""
    return await call(port, "/serving-endpoints/ep/invocations", {"messages": MESSAGES} | fields, headers)


async def talk(port: int, *pieces: bytes, pause: float = 0.02, wait: float = 10.0) -> bytes:
    """Sends raw bytes and returns all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), wait)
    except ConnectionResetError:
        return b"<reset>"
    finally:
        writer.close()


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Waits until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition did not come true in time")
        await asyncio.sleep(0.02)
