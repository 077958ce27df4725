"""Whose tokens count: the API server's and those of the setting, with keys that are renewed as they rotate.

Run by the operator, which hands the result on with each endpoint's policy, and by the router's feed. A fetch that fails
changes nothing: the last good keys stay in force, after a restart those that were recorded before it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from model_serving.kube.client import Client
from model_serving.kube.errors import KubeError
from model_serving.kube.issuers.jwks import KeysError, public_keys
from model_serving.kube.issuers.reader import ReadError, read_json
from model_serving.kube.issuers.settings import AUDIENCE, IssuerSetting
from model_serving.proxy_config import Issuer

log = logging.getLogger(__name__)

API_SERVER = "the API server"
RETRY_SECONDS = 30.0
"""How soon a fetch that failed is tried again."""
_DISCOVERY = "/.well-known/openid-configuration"
_KEYS = "/openid/v1/jwks"

Read = Callable[[str, str], Awaitable[Any]]


class Issuers:
    """Keeps the issuers up to date; `changed` is called whenever what should be told of them is another."""

    def __init__(
        self,
        client: Client,
        settings: Sequence[IssuerSetting],
        *,
        seconds: float,
        changed: Callable[[], None],
        read: Read = read_json,
    ) -> None:
        self.problems: dict[str, str] = {}
        """What the last fetch could not do, by issuer."""
        self.failures = 0
        """Fetches that failed since the start."""
        self.renewed: dict[str, float] = {}
        """When each issuer's keys were last read, in seconds since the epoch."""
        self._client = client
        self._settings = {setting.issuer: setting for setting in settings}
        self._seconds = seconds
        self._changed = changed
        self._read = read
        self._known: dict[str, Issuer] = {}
        self._tried = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Whether every issuer's keys have been read since the start."""
        return len(self._known) == len(self._names())

    def key_counts(self) -> dict[str, int]:
        """How many keys of each issuer are in force; for metrics."""
        return {name: len(self._known[name].keys) if name in self._known else 0 for name in self._names()}

    def with_recorded(self, recorded: Iterable[Issuer] = ()) -> tuple[Issuer, ...]:
        """The issuers; for those whose keys were not read yet, what was `recorded` of them before."""
        before = {API_SERVER if issuer.service_accounts else issuer.issuer: issuer for issuer in recorded}
        found: dict[str, Issuer] = {}
        for name in self._names():
            known = self._known.get(name)
            if known is None and (old := before.get(name)) is not None:
                setting = self._settings.get(name)
                known = setting.with_keys(old.keys) if setting is not None else old
            if known is not None:
                found.setdefault(known.issuer, known)  # the API server's tokens stay its own, whatever the setting says
        return tuple(found.values())

    async def wait_for_first(self, seconds: float) -> None:
        """Until everything was tried once, but not for long: nothing waits for an issuer that is away."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), seconds)

    async def run(self) -> None:
        """Renews for ever."""
        while True:
            await self.renew()
            self._tried.set()
            await asyncio.sleep(min(RETRY_SECONDS, self._seconds) if self.problems else self._seconds)

    async def renew(self) -> None:
        """Reads everything anew. Never raises: what failed stands in `problems`, and the last good keys stay."""
        before = self.with_recorded()
        await asyncio.gather(*(self._renew_one(name) for name in self._names()))
        if self.with_recorded() != before:
            log.info("keys of issuers: %s", ", ".join(f"{name} {n}" for name, n in self.key_counts().items()))
            self._changed()

    def _names(self) -> list[str]:
        return [API_SERVER, *self._settings]

    async def _renew_one(self, name: str) -> None:
        setting = self._settings.get(name)
        try:
            self._known[name] = await (self._of_api_server() if setting is None else self._of_setting(setting))
        except (KubeError, ReadError, KeysError, ValueError, RecursionError) as error:
            self.failures += 1
            problem = f"{type(error).__name__}: {error}"
            if self.problems.get(name) != problem:
                log.warning("reading the keys of %s, the last good ones stay in force: %s", name, problem)
            self.problems[name] = problem
            return
        self.renewed[name] = time.time()
        if self.problems.pop(name, None) is not None:
            log.info("the keys of %s can be read again", name)

    async def _of_api_server(self) -> Issuer:
        discovery = msgspec.json.decode(await self._client.raw(_DISCOVERY))
        issuer = _text(discovery, "issuer", _DISCOVERY)
        # Its own path, not the URL that it tells others: that one may lie outside the cluster.
        keys = public_keys(msgspec.json.decode(await self._client.raw(_KEYS)))
        return Issuer(issuer, [AUDIENCE], keys, service_accounts=True)

    async def _of_setting(self, setting: IssuerSetting) -> Issuer:
        if setting.keys:
            return setting.with_keys(public_keys({"keys": list(setting.keys)}))
        authority, url = setting.certificate_authority, setting.jwks_url
        if not url:
            place = setting.issuer.rstrip("/") + _DISCOVERY
            discovery = await self._read(place, authority)
            if _text(discovery, "issuer", place) != setting.issuer:
                raise ReadError(f"reading {place}: it is the document of another issuer")
            url = _text(discovery, "jwks_uri", place)
        return setting.with_keys(public_keys(await self._read(url, authority)))


def _text(document: Any, field: str, place: str) -> str:
    value = document.get(field) if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        raise ReadError(f"reading {place}: its field {field} is missing")
    return value
