"""Several worker processes behind one port: the parent that starts them, and speaks for them on the admin port.

Started by `cli.py` when the settings ask for more than one worker. The kernel spreads connections over the workers. A
worker counts as one more proxy: rate limits are divided among all (`state.py`). One that ends is started again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping

import uvloop

from model_serving.proxy.http.server import Server, listen
from model_serving.proxy.process import TICK_SECONDS, announce
from model_serving.proxy.refusals import refusal_body
from model_serving.proxy.settings import PREFIX, ProcessSettings
from model_serving.proxy.workers_admin import WorkersAdmin

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE, _LONG_LIFE = 0.2, 10.0, 30.0
COMMAND = (sys.executable, "-P", "-m", "model_serving.cli", "proxy")


def run_workers(settings: ProcessSettings, environ: Mapping[str, str]) -> int:
    """Runs the workers until told to end; returns the exit code. `environ` is what they get, and more."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    return uvloop.run(Workers(settings, environ).run())


class Workers:
    """The parent of a number of workers."""

    def __init__(self, settings: ProcessSettings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._told_to_end = asyncio.Event()
        self._processes: set[asyncio.subprocess.Process] = set()
        self._doors = [_bound("127.0.0.1", 0) for _ in range(settings.workers)]
        """Where each worker's admin port listens, whichever process it is just now."""
        self._admin = Server(WorkersAdmin([_port(door) for door in self._doors]).handle, refusal_body)

    async def run(self) -> int:
        """Starts the workers, waits for a signal, lets them drain, and returns when all have ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        settings = self._settings
        try:
            place = _bound(settings.host, settings.port, shared=True)  # never accepts: it only keeps the port ours
            admin = await listen(self._admin, settings.admin_host or settings.host, settings.admin_port)
        except OSError as error:
            log.error("cannot listen on %s: %s", settings.host, error.strerror)
            return 1
        announce(_port(place), admin.sockets[0].getsockname()[1])
        ticking = loop.create_task(self._tick())
        await asyncio.gather(*(self._keep(door, _port(place)) for door in self._doors))
        ticking.cancel()
        admin.close()
        place.close()
        return 0

    def _end(self) -> None:
        self._told_to_end.set()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._admin.sweep(loop.time(), time.time())
            await asyncio.sleep(TICK_SECONDS)

    async def _keep(self, door: socket.socket, port: int) -> None:
        """One worker after the other at one place."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while not self._told_to_end.is_set():
            born = loop.time()
            code = await self._live(door, port)
            if self._told_to_end.is_set():
                return
            pause = _FIRST_PAUSE if loop.time() - born > _LONG_LIFE else min(pause * 2, _LONGEST_PAUSE)
            log.error("a worker ended with code %d: another one is started", code)
            try:
                await asyncio.wait_for(self._told_to_end.wait(), pause)
            except TimeoutError:
                continue

    async def _live(self, door: socket.socket, port: int) -> int:
        reading, writing = os.pipe()  # its end tells a worker that the parent has died
        special = {"WORKER": "on", "PORT": port, "ADMIN_FD": door.fileno(), "CONTROL_FD": reading}
        environ = {**self._environ, **{PREFIX + name: str(value) for name, value in special.items()}}
        try:
            process = await asyncio.create_subprocess_exec(*COMMAND, env=environ, pass_fds=[reading, door.fileno()])
        finally:
            os.close(reading)
        self._processes.add(process)
        try:
            if self._told_to_end.is_set():
                process.send_signal(signal.SIGTERM)
            return await process.wait()
        finally:
            self._processes.discard(process)
            os.close(writing)


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind(address)
    return opened


def _port(opened: socket.socket) -> int:
    port: int = opened.getsockname()[1]
    return port
