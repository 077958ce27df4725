"""Callers whose tokens no key verifies here: the platform is asked, once per token at a time. Used by the router.

A caller who was found is learned by `identity.py`, so that the next calls cost what any other's do. Tokens lie here
only while they are asked about; what is remembered of those that are nobody's is their digest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from hashlib import sha256

from model_serving.bearer import bearer_token
from model_serving.proxy.auth import Principal
from model_serving.proxy.errors import ProxyError, Unavailable
from model_serving.proxy.identity import MAX_TOKEN_BYTES, Identity, unknown

log = logging.getLogger(__name__)
KNOWN_SECONDS = 60.0
"""How long a found owner is known."""
REFUSED_SECONDS = 10.0
"""How long a token that is nobody's is refused unasked."""
REVIEW_SECONDS = 5.0
"""How long a review may take, its wait for others included."""
AT_ONCE = 8
MAX_WAITING = 256
"""Tokens that are asked about, or wait to be."""
MAX_REFUSED = 4096

Named = tuple[str, frozenset[str]]
Ask = Callable[[bytes], Awaitable[Named | None]]
Told = Callable[[Principal | ProxyError], None]


class Reviews:
    """Asks the platform for owners of tokens. `wall` tells the time in seconds since the epoch."""

    def __init__(self, ask: Ask, identity: Identity, wall: Callable[[], float]) -> None:
        self._ask = ask
        self._identity = identity
        self._wall = wall
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting: dict[bytes, list[Told]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: dict[bytes, float] = {}

    def check(self, authorization: bytes) -> None:
        """Whether the platform can be asked about this header. Unauthenticated when its token is nobody's already."""
        if self._refused.get(sha256(authorization).digest(), 0.0) > self._wall():
            raise unknown()
        if end_of(_token_of(authorization)) <= self._wall():
            raise unknown()

    def begin(self, authorization: bytes, told: Told) -> None:
        """Asks whose token it is; `told` hears it later, never from within this call. Unauthenticated, Unavailable."""
        self.check(authorization)
        digest = sha256(authorization).digest()
        waiting = self._waiting.get(digest)
        if waiting is not None:
            waiting.append(told)
            return
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many tokens wait to be reviewed: try again in a second")
        self._waiting[digest] = [told]
        task = asyncio.get_running_loop().create_task(self._review(digest, authorization))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Asks no more; who waits hears nothing."""
        for task in self._tasks:
            task.cancel()

    async def _review(self, digest: bytes, authorization: bytes) -> None:
        outcome: Principal | ProxyError = Unavailable("this server is shutting down")
        try:
            outcome = await self._owner(digest, authorization)
        finally:
            for told in self._waiting.pop(digest):
                told(outcome)

    async def _owner(self, digest: bytes, authorization: bytes) -> Principal | ProxyError:
        token = _token_of(authorization)
        try:
            async with asyncio.timeout(REVIEW_SECONDS), self._room:
                named = await self._ask(token)
        except Exception as error:
            log.warning("a caller cannot be reviewed: %s", type(error).__name__)  # its text might show the token
            return Unavailable("whose token this is cannot be found out now: the API server does not answer", 2.0)
        now = self._wall()
        if named is None:
            self._refuse(digest, now + REFUSED_SECONDS)
            return unknown()
        principal = Principal(*named)
        self._identity.learn(authorization, (principal, min(now + KNOWN_SECONDS, end_of(token))))
        return principal

    def _refuse(self, digest: bytes, until: float) -> None:
        if len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = until


def end_of(token: bytes) -> float:
    """When a token ends by its own words, in seconds since the epoch; infinite when it says nothing.

    0 for a signed one without an end or an audience: those are refused everywhere, whoever would accept them.
    """
    if not token:
        return 0.0
    if token.count(b".") != 2 or not token.startswith(b"eyJ"):
        return math.inf
    try:
        middle = token.split(b".")[1]
        claims = json.loads(urlsafe_b64decode(middle + b"=" * (-len(middle) % 4)))
        return float(claims["exp"]) if claims["aud"] else 0.0
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return 0.0


def _token_of(authorization: bytes) -> bytes:
    return bearer_token(authorization) if len(authorization) <= MAX_TOKEN_BYTES else b""
