"""Who presents a token and what RBAC allows them: reviews with the caller's own token, remembered for a short while."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from model_serving.api.endpoint import GROUP, PLURAL
from model_serving.kube.client import Client
from model_serving.kube.errors import Forbidden, KubeError, Unauthorized
from model_serving.kube.resources import SELF_SUBJECT_ACCESS_REVIEWS
from model_serving.kube.reviews import review
from model_serving.stores import Away, Caller, Denied, Verb

IDENTITY_SECONDS = 60.0
RIGHTS_SECONDS = 5.0
MOST = 4096
REVIEWS_AT_ONCE = 8
"""Of tokens that are not known: whoever sends made-up ones must not take the API server from those who are known."""
MOST_REVIEWS = 128
"""With those that wait."""

K = TypeVar("K")
V = TypeVar("V")


class Memory(Generic[K, V]):
    """The latest `MOST` answers, each for some seconds; a question that is being asked is not asked twice."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V]], *, keep: Callable[[V], bool] = lambda _: True) -> V:
        """What is remembered, else what `ask` says, which is remembered if `keep` holds. Errors are everybody's who
        waits, and not remembered."""
        known = self._known.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._ask(key, ask, keep))
            task.add_done_callback(lambda done: self._forget_task(key, done))
        # A caller who leaves does not take the answer from the others.
        return await asyncio.shield(task)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]], keep: Callable[[V], bool]) -> V:
        began = self._clock()
        answer = await ask()
        if keep(answer):
            self._known[key] = began + self._seconds, answer
            self._known.move_to_end(key)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return answer

    def _forget_task(self, key: K, task: asyncio.Task[V]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains when all who waited have left


class KubeCallers:
    """`stores.Callers`. Tokens are remembered by their digests."""

    def __init__(self, client: Client, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._namespace = namespace
        self._names: Memory[str, tuple[str, frozenset[str]] | None] = Memory(IDENTITY_SECONDS, clock)
        self._rights: Memory[tuple[str, Verb, str], bool] = Memory(RIGHTS_SECONDS, clock)
        self._room = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self._reviews = 0

    async def identify(self, token: str) -> Caller | None:
        """By SelfSubjectReview. What is not known is not remembered."""

        async def ask() -> tuple[str, frozenset[str]] | None:
            with self._place():
                async with self._room:
                    found = await review(self._client, token)
            return (found.name, found.groups) if found else None

        try:
            known = await self._names.get(_digest(token), ask, keep=lambda found: found is not None)
        except Forbidden:
            raise Denied(
                "asking the cluster whose token that is: it does not allow selfsubjectreviews, which every user may "
                "make by default: ask an admin to restore the ClusterRole system:basic-user"
            ) from None
        except KubeError:
            raise Away("asking the cluster whose token that is: no answer, try again in a few seconds") from None
        return Caller(*known, token=token) if known else None

    @contextmanager
    def _place(self) -> Iterator[None]:
        """For one review. `Away` when too many are waiting."""
        if self._reviews >= MOST_REVIEWS:
            raise Away("asking the cluster whose token that is: many wait for that already, try again in a few seconds")
        self._reviews += 1
        try:
            yield
        finally:
            self._reviews -= 1

    async def may(self, caller: Caller, verb: Verb, object_name: str = "") -> bool:
        """By SelfSubjectAccessReview."""

        async def ask() -> bool:
            return await self._review_access(caller, verb, object_name)

        try:
            return await self._rights.get((_digest(caller.token), verb, object_name), ask)
        except (Unauthorized, Forbidden):
            return False
        except KubeError:
            raise Away(f"asking the cluster what {caller.name} may do: no answer, try again in a few seconds") from None

    async def _review_access(self, caller: Caller, verb: Verb, object_name: str) -> bool:
        wanted = {"namespace": self._namespace, "verb": str(verb), "group": GROUP, "resource": PLURAL}
        resource = SELF_SUBJECT_ACCESS_REVIEWS
        answer = await self._client.acting_as(caller.token).create(
            {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": {},
                "spec": {"resourceAttributes": wanted | ({"name": object_name} if object_name else {})},
            }
        )
        return (answer.get("status") or {}).get("allowed") is True


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
