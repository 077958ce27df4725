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
        app, lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False, date_header=True,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve([door]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
