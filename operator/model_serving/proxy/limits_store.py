"""The way to the common store of limits, a Valkey or Redis: carries a `Ledger`'s requests there and its answers back.

Off the way of calls: one task, one connection, one request at a time, so that what comes together goes together. Each
step is bounded in time; while the store is gone it is tried again in the background and no call waits for it. Started
by `app.py` when the policy names a store; the client library is loaded only then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import ssl
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model_serving.proxy.exposition import Family, samples
from model_serving.proxy.limits import Limiter, Rules
from model_serving.proxy.limits.ledger import BEAT_SECONDS, Ledger
from model_serving.proxy.limits.script import SCRIPT
from model_serving.proxy_config import LimitsStore

log = logging.getLogger(__name__)

ANSWER_SECONDS = 0.6
"""How long a request may take before the connection counts as lost."""
CONNECT_SECONDS = 0.4
IDLE_SECONDS = 1.0
"""How often an unused store is asked: its loss is seen before a call needs it, and what others use is known."""
RETRY_SECONDS = (0.1, 0.25, 0.5, 1.0)
"""Pauses between attempts while the store is gone; the last one repeats."""
STORE_UP = Family(
    "model_serving_limits_store_up",
    "gauge",
    "1 while the common store counts, 0 while limits are divided.",
)
LOST = Family("model_serving_limits_store_losses_total", "counter", "How often the common store was lost.")
PASSWORD, AUTHORITY = "password", "ca.crt"
_DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class Lost(Exception):
    """The store cannot be used now; the text says why and never holds the password."""


class Connection:
    """One connection to the store."""

    def __init__(self, client: Any, run: str) -> None:
        self._client = client
        self.run = run
        """Which run of the server this is: another one may have forgotten everything."""

    @classmethod
    async def open(cls, store: LimitsStore, folder: Path) -> Connection:
        """Connects and greets. Lost."""
        client = make_client(store.url, folder)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                server = await client.info("server")
                await client.script_load(SCRIPT)
        except Exception as error:
            with contextlib.suppress(Exception):
                await client.aclose()
            raise Lost(cause(error)) from None
        return cls(client, str(server.get("run_id", "")))

    async def run_script(self, keys: Sequence[str], numbers: Sequence[int | str]) -> list[bytes | int]:
        """The script's answer. Lost."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reply: list[bytes | int] = await self._client.evalsha(_DIGEST, len(keys), *keys, *numbers)
                return reply
        except Exception as error:
            raise Lost(cause(error)) from None

    async def close(self) -> None:
        """Hangs up."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._client.aclose()


class LimitsLink:
    """Keeps a ledger and the store in touch. Needs a running loop."""

    def __init__(self, store: LimitsStore, folder: Path, *, now: Callable[[], float], span: int) -> None:
        self.store = store
        self.ledger = Ledger(self._wake, span=span)
        self._folder = folder
        self._now = now
        self._woken = asyncio.Event()
        self._connection: Connection | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Ends the task; the connection goes with it."""
        self._task.cancel()

    def _wake(self) -> None:
        self._woken.set()

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                try:
                    await self._exchange()
                except Lost as error:
                    failures += 1
                    await self._pause(failures, str(error))
                except Exception:
                    log.exception("the limits' store was not asked because of a fault in this program")
                    failures += 1
                    await self._pause(failures, "a fault in this program")
                else:
                    if failures > 1:
                        log.info("the limits' store answers again")
                    failures = 0
                    await self._rest()
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def _exchange(self) -> None:
        """One request and its answer."""
        ledger, store = self.ledger, self.store
        self._woken.clear()
        if self._connection is None:
            self._connection = await Connection.open(store, self._folder)
        connection, sent_at = self._connection, self._now()
        names, numbers = ledger.request(sent_at)
        prefix = f"{{model-serving:{store.name}}}"
        keys = [f"{prefix}:clock", *(f"{prefix}:{name}" for name in names)]
        settings = [ledger.span, int(ledger.lease * 1000), ledger.parts, ledger.latest(sent_at)]
        words = [connection.run, secrets.token_hex(8)]
        try:
            reply = await connection.run_script(keys, [*settings, *words, *numbers])
        except Lost:
            ledger.failed()
            self._connection = None
            await connection.close()
            raise
        ledger.answered(reply, sent_at, self._now())

    async def _pause(self, failures: int, problem: str) -> None:
        """A first failure may be a connection's: another is tried before calls are told."""
        if failures == 1 and self.ledger.waits_gladly:
            return
        if failures <= 2:
            log.warning("limits are divided among proxies: the store cannot be used: %s", problem)
        self.ledger.parted(f"the store cannot be used: {problem}", self._now())
        await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])

    async def _rest(self) -> None:
        """Until there is something to ask, or a moment has passed."""
        try:
            async with asyncio.timeout(BEAT_SECONDS if self.ledger.used else IDLE_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            return


class LimitsKeeper:
    """Gives a limiter the store that the policy names, and tells how it stands."""

    def __init__(self, limiter: Limiter, folder: Path, now: Callable[[], float]) -> None:
        self._limiter = limiter
        self._folder = folder
        self._now = now
        self._link: LimitsLink | None = None

    def follow(self, store: LimitsStore | None, rules: Rules) -> None:
        """Changes stores and rules when the policy does."""
        self._limiter.follow(rules)
        if store == (self._link.store if self._link is not None else None):
            return
        self.close()
        if store is not None:
            self._link = LimitsLink(store, self._folder, now=self._now, span=self._limiter.span)
        self._limiter.join(self._link.ledger if self._link is not None else None)

    @property
    def problem(self) -> str:
        """Why this proxy does not count together with the others although it should; empty when it does."""
        return self._link.ledger.problem if self._link is not None else ""

    @property
    def losses(self) -> int:
        """How often the store was lost."""
        return self._link.ledger.losses if self._link is not None else 0

    def render(self) -> str:
        """The metrics of the store; none where no store is used."""
        if self._link is None:
            return ""
        return samples(STORE_UP, [((), int(not self.problem))]) + samples(LOST, [((), self.losses)])

    def close(self) -> None:
        """Ends what runs."""
        if self._link is not None:
            self._link.close()
            self._link = None


def make_client(url: str, folder: Path) -> Any:
    """A client of the store at `url` with the credentials in `folder`. Lost."""
    try:
        library = import_module("valkey.asyncio")
        retry = import_module("valkey.asyncio.retry").Retry(import_module("valkey.backoff").NoBackoff(), 0)
    except ImportError:
        raise Lost("this image has no client for it: install model-serving[limits-store]") from None
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port or 6379,
        "db": int(parts.path.strip("/") or 0),
        "username": parts.username,
        "password": _read(folder / PASSWORD),
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": retry,
        "single_connection_client": True,
    }
    if parts.scheme in ("valkeys", "rediss"):
        authority = _read(folder / AUTHORITY)
        options |= {"ssl": True, "ssl_ca_data": authority, "ssl_min_version": ssl.TLSVersion.TLSv1_2}
    return library.Valkey(**options)


def cause(error: BaseException) -> str:
    """An error of the client in words: its kind and text, on one line."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
