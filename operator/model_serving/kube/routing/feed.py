"""Tells a router of its workspace in a cluster: the table, the issuers, the workspace's number; and who callers are.

Implements the port that the router declares, in plain values of `proxy_config.py`; put together by `cli.py`. Nothing
that fails here takes anything back: the router goes on with what it was last told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec import structs

from model_serving.kube.client import Client, Selection
from model_serving.kube.config import Connection
from model_serving.kube.credentials import CredentialsError
from model_serving.kube.errors import Forbidden, KubeError, Unavailable
from model_serving.kube.issuers.renewal import Issuers
from model_serving.kube.request import Retries
from model_serving.kube.resources import ENDPOINT_SLICES, ENDPOINTS
from model_serving.kube.reviews import review
from model_serving.kube.routing.audiences import audiences
from model_serving.kube.routing.settings import FeedSettings
from model_serving.kube.routing.slices import SELECTOR
from model_serving.kube.routing.table import Table
from model_serving.kube.watch import Watch
from model_serving.kube.workspace_id import read_workspace_id
from model_serving.proxy_config import Issuer, News

log = logging.getLogger(__name__)

CALM_SECONDS = 0.03
"""The least time between two tables: a roll-out is many small changes."""
REQUEST_SECONDS = 10.0
LONGEST_PAUSE = 5.0
"""Between attempts to reach an API server that was away: pods may have moved, and calls go astray until then."""
_ID_RETRY_SECONDS = (1.0, 30.0)
"""How soon the workspace's number is asked for again, the first time and at most."""

Tell = Callable[[News], None]


class Feed:
    """The feed of one namespace. `recorded` are the issuers that the router knew before it was started anew: their keys
    stay in force until they can be read."""

    def __init__(
        self, connection: Connection, settings: FeedSettings, *, recorded: Callable[[], Sequence[Issuer]] = tuple
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._recorded = recorded
        self._client: Client | None = None

    async def run(self, tell: Tell) -> None:
        """Tells all news until it is cancelled."""
        async with Client(self._connection, timeout=REQUEST_SECONDS, retries=Retries(attempts=2)) as client:
            self._client = client
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._tell_table(client, tell), name="the table of endpoints")
                    group.create_task(self._tell_issuers(client, tell), name="the keys of issuers")
                    group.create_task(self._tell_workspace_id(client, tell), name="the workspace's number")
            finally:
                self._client = None

    async def review(self, token: bytes) -> tuple[str, frozenset[str]] | None:
        """Name and groups of the owner of `token` by the API server's word; None when it knows none. `KubeError`."""
        if self._client is None:
            raise Unavailable("asking whose token it is: the connection to the API server is not open yet")
        found = await review(self._client, token.decode("latin-1"))
        return None if found is None else (found.name, found.groups)

    async def _tell_table(self, client: Client, tell: Tell) -> None:
        dirty, namespace = asyncio.Event(), self._settings.namespace
        table = Table(namespace, self._settings.cluster_domain, dirty.set)
        selections = (Selection(ENDPOINTS, namespace), Selection(ENDPOINT_SLICES, namespace, labels=SELECTOR))
        watches = [Watch(client, selection, table, longest_pause=LONGEST_PAUSE) for selection in selections]
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.run(), name=f"watch {watch.selection}")
            for watch in watches:
                # Endpoints without their proxies would look as if all were starting.
                await watch.synced.wait()
            told = None
            while True:
                dirty.clear()
                entries = table.entries()
                if entries != told:
                    tell(News(table=entries))
                    told = entries
                # The first change after a calm is told at once: who has just made an endpoint will call it next.
                await asyncio.sleep(CALM_SECONDS)
                await dirty.wait()

    async def _tell_issuers(self, client: Client, tell: Tell) -> None:
        accepted, recorded = await self._audiences(), tuple(self._recorded())

        def changed() -> None:
            found = issuers.with_recorded(recorded)
            tell(News(issuers=[_meant_for(issuer, accepted) for issuer in found]))

        settings = self._settings
        issuers = Issuers(client, settings.issuers, seconds=settings.issuers_renew_seconds, changed=changed)
        await issuers.run()

    async def _audiences(self) -> list[str]:
        try:
            return audiences(await self._connection.credentials.token())
        except CredentialsError as error:
            log.warning("reading the router's own token, tokens of its audience are asked about one by one: %s", error)
            return audiences("")

    async def _tell_workspace_id(self, client: Client, tell: Tell) -> None:
        pause, longest = _ID_RETRY_SECONDS
        while True:
            try:
                tell(News(workspace_id=await read_workspace_id(client, self._settings.namespace)))
                return
            except KubeError as error:
                remedy = ": grant get on namespaces in it" if isinstance(error, Forbidden) else ""
                log.warning("reading the Namespace for the workspace's number%s: %s", remedy, error)
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)


def _meant_for(issuer: Issuer, accepted: list[str]) -> Issuer:
    """The API server's tokens count at the router in two kinds: for the router, and for the API server itself."""
    return structs.replace(issuer, audiences=accepted) if issuer.service_accounts else issuer
