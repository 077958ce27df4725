"""Looks at every endpoint, decides, acts and writes the status: the local `controller/`. Called by `keeper.py`."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp

from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.proxy import ProxySettings
from model_serving.api.status import EndpointStatus
from model_serving.lifecycle.decide import decide
from model_serving.lifecycle.observed import Finding, Observed
from model_serving.lifecycle.proxy_config import authorities_of, grants_of
from model_serving.lifecycle.revision import Shape
from model_serving.lifecycle.routing import Reach, table_entry
from model_serving.local.child import Lines
from model_serving.local.evidence import Recent
from model_serving.local.folder import StateFolder
from model_serving.local.instance import ProxyPlan
from model_serving.local.listing import Row, row_of
from model_serving.local.proxies import EndpointProxies
from model_serving.local.settings import RunSettings, child_environ, command
from model_serving.local.store import Record, Store
from model_serving.local.supervised import Hooks
from model_serving.proxy_config import Entry


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every endpoint of a run shares."""

    settings: RunSettings
    folder: StateFolder
    router_key: str
    base_url: str
    """Of the router, up to and including `/serving-endpoints`."""
    session: aiohttp.ClientSession
    wake: Callable[[], None]
    lines: Lines
    """Takes the proxies' access logs."""


@dataclass(frozen=True, slots=True)
class View:
    """What a look found: the router's table, the rows for people, and whether time alone may change anything."""

    table: dict[str, Entry]
    rows: tuple[Row, ...]
    settled: bool
    notes: tuple[str, ...] = ()
    """What endpoints ask for that has no meaning on one machine."""


class Workspace:
    """All endpoints of one run."""

    def __init__(self, around: Surroundings, store: Store) -> None:
        self._around = around
        self._deadlines = around.settings.deadlines
        self._store = store
        self._proxies: dict[str, EndpointProxies] = {}
        self._leaving: dict[asyncio.Task[None], EndpointProxies] = {}
        self._recent: dict[str, Recent] = {}

    async def look(self, now: datetime) -> View:
        """One look at every endpoint, with everything done that follows from it."""
        await asyncio.gather(*(proxies.ask(self._around.session) for proxies in self._proxies.values()))
        records = self._store.records()
        self._forget_all_but({record.endpoint.metadata.uid for record in records})
        owners: dict[str, str] = {}
        table: dict[str, Entry] = {}
        rows: list[Row] = []
        settled = True
        for record in records:
            name, uid = record.endpoint.endpoint_name, record.endpoint.metadata.uid
            problems = _name_taken(owners, record.endpoint)
            status = self._look_at(record, now, problems)
            rows.append(row_of(record.endpoint.model_copy(update={"status": status})))
            settled = settled and _settled(status)
            if not problems:
                proxies = self._proxies[uid]
                table[name] = table_entry(status, grants_of(record.endpoint), Reach(proxies.addresses()))
        notes = [note for record in records for note in _without_meaning(record.endpoint)]
        return View(table, tuple(rows), settled, tuple(notes))

    @property
    def session(self) -> aiohttp.ClientSession:
        """For questions to the proxies."""
        return self._around.session

    def admin_ports(self, uid: str) -> dict[str, int]:
        """The admin ports of an endpoint's proxies, by revision."""
        proxies = self._proxies.get(uid)
        return proxies.admin_ports() if proxies else {}

    def recent_calls(self, uid: str) -> str:
        """The latest lines of the access logs of an endpoint's proxies."""
        return self._recent[uid].text() if uid in self._recent else ""

    def log_of(self, endpoint: ServingEndpoint) -> Path:
        """Where the proxies of an endpoint say what happens to them."""
        return self._around.folder.logs / f"proxy-{endpoint.metadata.name}.log"

    async def stop(self) -> None:
        """Drains all proxies and waits for their end."""
        await asyncio.gather(*(proxies.stop() for proxies in self._proxies.values()), *self._leaving)

    def kill(self) -> None:
        """Ends all proxies at once."""
        for proxies in (*self._proxies.values(), *self._leaving.values()):
            proxies.kill()

    def _look_at(self, record: Record, now: datetime, problems: tuple[Finding, ...]) -> EndpointStatus:
        proxies = self._proxies_of(record.endpoint)
        name = record.endpoint.endpoint_name
        observed = Observed(
            endpoint=_on_one_machine(record.endpoint),
            history=record.history,
            shape=_shape(record.endpoint),
            now=now,
            rollout=proxies.rollout(),
            proxies=proxies.statuses(),
            problems=problems,
            upstream_leave="local",
            url=f"{self._around.base_url}/{name}/invocations",
        )
        decision = decide(observed, self._deadlines)
        self._store.write_outcome(record, decision.history, decision.status)
        if proxies.act(decision):
            self._around.wake()
        return decision.status

    def _proxies_of(self, endpoint: ServingEndpoint) -> EndpointProxies:
        uid, around = endpoint.metadata.uid, self._around
        if uid not in self._proxies:
            plan = ProxyPlan(
                arguments=command("proxy"),
                environ=child_environ(around.settings, HOST="127.0.0.1", PORT="0"),
                router_key=around.router_key,
                folder=around.folder.endpoints / uid,
                secrets=around.folder.secrets / endpoint.metadata.namespace,
                log=self.log_of(endpoint),
                lines=self._recent.setdefault(uid, Recent(around.lines)).take,
            )
            hooks = Hooks(greet=lambda _: None, wake=around.wake)
            self._proxies[uid] = EndpointProxies(plan, hooks, self._deadlines.progress)
        return self._proxies[uid]

    def _forget_all_but(self, uids: set[str]) -> None:
        """Lets the proxies of removed endpoints finish their calls, then clears up."""
        for uid in set(self._proxies) - uids:
            proxies = self._proxies.pop(uid)
            self._recent.pop(uid, None)
            task = asyncio.create_task(self._see_out(uid, proxies))
            self._leaving[task] = proxies
            task.add_done_callback(lambda done: self._leaving.pop(done, None))

    async def _see_out(self, uid: str, proxies: EndpointProxies) -> None:
        await proxies.stop()
        await asyncio.to_thread(shutil.rmtree, self._around.folder.endpoints / uid, True)


def _on_one_machine(endpoint: ServingEndpoint) -> ServingEndpoint:
    """The endpoint without the settings that speak of pods: there is one proxy here, and limits hold exactly."""
    spec = endpoint.spec.model_copy(update={"proxy": ProxySettings(upstream_ca=endpoint.spec.proxy.upstream_ca)})
    return endpoint.model_copy(update={"spec": spec})


def _shape(endpoint: ServingEndpoint) -> Shape:
    """What shapes a proxy here: whom it trusts."""
    authorities = authorities_of(endpoint)
    return Shape(proxy={"upstreamCa": authorities}) if authorities else Shape()


def _without_meaning(endpoint: ServingEndpoint) -> list[str]:
    """Which settings of pods are left out of account; that calls come without TLS should surprise nobody."""
    if endpoint.spec.proxy.tls is None:
        return []
    return [f"{endpoint.endpoint_name}: spec.proxy.tls is ignored on one machine: only the router calls its proxy"]


def _name_taken(owners: dict[str, str], endpoint: ServingEndpoint) -> tuple[Finding, ...]:
    """Whether an older endpoint has the name that clients use; there is one workspace here, whatever the namespace."""
    name, key = endpoint.endpoint_name, "/".join(endpoint.key)
    owner = owners.setdefault(name, key)
    if owner == key:
        return ()
    text = f"the older endpoint {owner} has the name {name}: give one of them another spec.endpointName"
    return (Finding(Reason.NAME_CONFLICT, text),)


def _settled(status: EndpointStatus) -> bool:
    """Whether waiting will not change much: ready, or in need of somebody."""
    conditions = {condition.type: condition for condition in status.conditions}
    ready = conditions.get(ConditionType.READY)
    return ConditionType.STALLED in conditions or (
        ready is not None and (ready.status == "True" or ready.reason == Reason.SECRET_NOT_FOUND)
    )
