"""The operator's HTTP side: `/livez`, `/readyz`, `/metrics`. Started by `operator.py`, asked by the kubelet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from model_serving.controller.metrics import Metrics

Check = Callable[[], str]
"""The answer is empty when all is well, else what is wrong."""


class HealthServer:
    """Serves until left. `live` and `ready` are asked at each request."""

    def __init__(self, *, port: int, live: Check, ready: Check, metrics: Metrics) -> None:
        self._port = port
        self._live = live
        self._ready = ready
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """Where it listens: of use when the port was 0."""
        addresses = self._runner.addresses if self._runner else []
        # With port 0 each address family gets a port of its own: the IPv4 one is told.
        return next((int(address[1]) for address in addresses if ":" not in address[0]), 0)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/livez", self._answer(self._live))
        app.router.add_get("/readyz", self._answer(self._ready))
        app.router.add_get("/metrics", self._render)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _answer(self, check: Check) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            problem = check()
            return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

        return answer

    async def _render(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})
