"""Management as a process of its own: settings, log, signals. Called by the command `model-serving management`."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from model_serving.management.server import serve_management
from model_serving.stores import Platform

log = logging.getLogger(__name__)

PREFIX = "MODEL_SERVING_"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class SettingsError(ValueError):
    """A setting that cannot be; the text names the variable."""


@dataclass(frozen=True, slots=True)
class ManagementSettings:
    """Where it listens, and what it serves. It believes its neighbour, the router, about scheme and host, hence
    loopback. `namespace`: empty for the connection's own."""

    host: str = "127.0.0.1"
    port: int = 8090
    namespace: str = ""
    log_level: str = "INFO"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ManagementSettings:
        """The settings of an environment. SettingsError."""
        port, level = environ.get(PREFIX + "PORT", "8090"), environ.get(PREFIX + "LOG_LEVEL", "INFO").upper()
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise SettingsError(f"{PREFIX}PORT: set it to a number from 0 to 65535")
        if level not in LEVELS:
            raise SettingsError(f"{PREFIX}LOG_LEVEL: set it to one of {', '.join(LEVELS)}")
        host, namespace = environ.get(PREFIX + "HOST", cls().host), environ.get(PREFIX + "NAMESPACE", "")
        return cls(host, int(port), namespace, level)


def run_management(settings: ManagementSettings, platform: AbstractAsyncContextManager[Platform]) -> int:
    """Runs until stopped. 0: stopped by a signal, 1: cannot listen."""
    logging.basicConfig(
        level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for library in ("aiohttp", "httpx", "uvicorn"):
        # What they have to say at lower levels is about sockets.
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        door = _bind(settings)
    except OSError as error:
        log.error("cannot listen at %s port %d: %s", settings.host, settings.port, error.strerror or error)
        return 1
    with door:
        asyncio.run(_serve(platform, door))
    return 0


def _bind(settings: ManagementSettings) -> socket.socket:
    """A socket that has the port and does not listen yet: until there is a cluster, callers are refused at once."""
    door = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((settings.host, settings.port))
    except OSError:
        door.close()
        raise
    return door


async def _serve(connecting: AbstractAsyncContextManager[Platform], door: socket.socket) -> None:
    """Until a signal; whoever is waiting for the cluster then does so no longer."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def serve() -> None:
        async with connecting as platform, serve_management(platform, door):
            # The socket's own name: with port 0, the port was chosen.
            log.info("serving the namespace %s at %s port %d", platform.namespace, *door.getsockname()[:2])
            connected.set()
            await stop.wait()

    connected = asyncio.Event()
    serving, stopped = asyncio.create_task(serve()), asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not connected.is_set():
        serving.cancel()
    stopped.cancel()
    try:
        await serving
    except asyncio.CancelledError:
        log.info("stopped before the cluster answered")
