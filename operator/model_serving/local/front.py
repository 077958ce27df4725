"""The router process: it owns the port; swapping its table moves calls to new proxies. Called by `runner.py`."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from model_serving.local.child import Child, Program
from model_serving.local.errors import InputError
from model_serving.local.supervised import Hooks, Supervised
from model_serving.local.users import Users
from model_serving.proxy_config import Entry

_PORT_PATIENCE = 5.0
"""Seconds to wait for a port: the router of a runner that was killed drains before it lets go."""
_BACKLOG = 4096


async def claim_port(host: str, port: int, option: str) -> int:
    """The port to listen on: `port` once it is free, or any free one for 0. Raises `InputError` naming `option`."""
    with await claim_socket(host, port, option) as claimed:
        return port_of(claimed)


async def claim_socket(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens at that port, as `claim_port`. Connections wait in it until somebody accepts them."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PORT_PATIENCE
    while True:
        try:
            return _listening(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise InputError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --host") from None
            if loop.time() > deadline:
                raise InputError(f"port {port} is taken by another program: choose another with {option}") from None
        await asyncio.sleep(0.1)


def loopback_socket() -> socket.socket:
    """A socket that listens at any free port, for the processes of this machine."""
    return _listening("127.0.0.1", 0)


def port_of(listening: socket.socket) -> int:
    """The port of a socket that listens."""
    port: int = listening.getsockname()[1]
    return port


def _listening(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def users_message(users: Users) -> dict[str, Any]:
    """The users as the router wants them."""
    return {
        digest: {"principal": user.name, "groups": list(user.groups), "admin": user.admin}
        for digest, user in users.items()
    }


class Router:
    """Keeps the router running and its table, users and key in step.

    `door` is the socket that the program listens at. It stays open here: while a router is started anew, connections
    wait in it instead of being refused.
    """

    def __init__(self, program: Program, wake: Callable[[], None], router_key: str, door: socket.socket) -> None:
        self._door = door
        self._key = router_key
        self._table: dict[str, Entry] = {}
        self._users: dict[str, Any] = {}
        self._management = ""
        self._child: Child | None = None
        self._process = Supervised(program, Hooks(self._greet, wake))

    @property
    def process(self) -> Supervised:
        """The process behind it."""
        return self._process

    async def stop(self) -> None:
        """Drains the router; from now on nobody waits at the door."""
        self._door.close()
        await self._process.stop()

    def kill(self) -> None:
        """Ends the router at once."""
        self._door.close()
        self._process.kill()

    def set_table(self, table: dict[str, Entry]) -> None:
        """Makes the router send calls where `table` says."""
        if table != self._table:
            self._table = table
            self._tell({"table": msgspec.to_builtins(table)})

    def set_users(self, users: dict[str, Any]) -> None:
        """Makes the router let in those who are named."""
        if users != self._users:
            self._users = users
            self._tell({"users": users})

    def set_management(self, address: str) -> None:
        """Makes the router hand on what is for the REST API, to HOST:PORT."""
        if address != self._management:
            self._management = address
            self._tell({"management": address})

    def _greet(self, child: Child) -> None:
        self._child = child
        child.tell({"router_key": self._key, "users": self._users, "table": msgspec.to_builtins(self._table)})
        if self._management:
            child.tell({"management": self._management})

    def _tell(self, message: Mapping[str, Any]) -> None:
        if self._child is not None:
            self._child.tell(message)
