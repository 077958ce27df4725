"""Serves the REST API at a socket. Called by `cli.py`: for a workspace in a cluster, and for `run`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from model_serving.management.app import build_app
from model_serving.management.operations import OPERATIONS
from model_serving.stores import Platform

_GRACE_SECONDS = 10
_IDLE_SECONDS = 75
"""Longer than the router keeps an idle connection, so that it never writes into one that is being closed."""


class _Server(uvicorn.Server):
    """Leaves the signals to the process that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


@asynccontextmanager
async def serve_management(platform: Platform, door: socket.socket) -> AsyncIterator[None]:
    """Serves `platform` at the listening socket `door` while the context lasts; calls under way are finished then."""
    app = build_app(platform, OPERATIONS)
    config = uvicorn.Config(
        app, lifespan="off", ws="none", access_log=False, log_config=None, server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS, timeout_keep_alive=_IDLE_SECONDS,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve([door]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
