"""The life of a data-plane process: listen, tick, drain, end. Shared by proxy (`app.py`) and router (`router_app.py`).

Drain: turn unready, go on accepting for the drain delay while each answer ends its connection, then stop listening
and finish what is under way, up to the longest allowed request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec
import uvloop

from model_serving.proxy.control import ControlPipe, Message, open_control
from model_serving.proxy.http.server import Server, listen, listen_at
from model_serving.proxy.settings import ProcessSettings

log = logging.getLogger(__name__)
TICK_SECONDS = 0.25
POLL_SECONDS = 0.05
MAX_FILES = 65536


class Service(Protocol):
    """What runs in the process."""

    data: Server
    admin: Server

    def listening(self) -> None:
        """Both ports are open."""

    def message(self, message: Message) -> None:
        """The parent says something."""

    def tick(self, now: float, wall: float) -> None:
        """A quarter of a second has passed."""

    def drain(self) -> None:
        """No new callers should come."""

    def end(self) -> None:
        """Time is up: cut what is still under way."""


class Process:
    """Runs one service until it is told to end."""

    def __init__(self, service: Service, settings: ProcessSettings) -> None:
        self._service = service
        self._settings = settings
        self._told_to_end = asyncio.Event()

    async def run(self) -> int:
        """Serves until a signal or the end of the control pipe, drains, and returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end.set)
        if self._settings.control_fd is not None:
            await open_control(self._settings.control_fd, ControlPipe(self._service.message, self._told_to_end.set))
        self._service.tick(loop.time(), time.time())
        try:
            data = await self._open_door()
            admin = await self._open_admin()
        except OSError as error:
            log.error("cannot listen on %s: %s", self._settings.host, error.strerror)
            return 1
        self._service.listening()
        if not self._settings.worker:
            announce(_port_of(data), _port_of(admin))
        ticking = loop.create_task(self._tick())
        await self._told_to_end.wait()
        await self._drain(data)
        ticking.cancel()
        admin.close()
        return 0

    async def _open_door(self) -> asyncio.Server:
        settings = self._settings
        if settings.listen_fd is not None:
            return await listen_at(self._service.data, socket.socket(fileno=settings.listen_fd))
        return await listen(self._service.data, settings.host, settings.port, shared=settings.worker)

    async def _open_admin(self) -> asyncio.Server:
        settings = self._settings
        if settings.admin_fd is not None:
            return await listen_at(self._service.admin, socket.socket(fileno=settings.admin_fd))
        return await listen(self._service.admin, settings.admin_host or settings.host, settings.admin_port)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self._service.tick(loop.time(), time.time())
            except Exception:
                log.exception("periodic work failed because of a fault in this program")

    async def _drain(self, listener: asyncio.Server) -> None:
        loop = asyncio.get_running_loop()
        self._service.drain()
        self._service.data.drain()
        await asyncio.sleep(self._settings.drain_delay_seconds)
        listener.close()
        deadline = loop.time() + self._settings.max_request_seconds
        while self._service.data.busy and loop.time() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        self._service.end()
        self._service.data.close_idle()
        await asyncio.sleep(POLL_SECONDS)


def run_process(main: Coroutine[Any, Any, int]) -> int:
    """Runs a process' main coroutine on uvloop, with the garbage collector tuned to long-lived objects."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    raise_file_limit()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return uvloop.run(main)


def raise_file_limit() -> None:
    """Lets the process open as many files as it may, up to what it can use: most systems begin at 1024 sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _port_of(listener: asyncio.Server) -> int:
    port: int = listener.sockets[0].getsockname()[1]
    return port


def announce(port: int, admin: int) -> None:
    """Tells a parent where the ports are, in one line."""
    sys.stdout.write(msgspec.json.encode({"listening": port, "admin": admin}).decode() + "\n")
    sys.stdout.flush()
