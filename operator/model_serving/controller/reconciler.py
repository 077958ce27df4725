"""The work on one endpoint: observe, decide, act, report. Level-triggered: everything is looked at, every time.

Called by the queue with the key of an endpoint. All judgement is in `lifecycle/`, all writing in `children.py`.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.endpoint import ServingEndpoint
from model_serving.api.hosts import LEAVE_LABEL
from model_serving.api.names import RELOAD_ANNOTATION
from model_serving.api.status import EndpointStatus
from model_serving.controller.cache import Key
from model_serving.controller.children import Awaited, NotOurs, Refused
from model_serving.controller.desired.owner import Owner, owner_of, pod_selector
from model_serving.controller.desired.service import service_url
from model_serving.controller.desired.shape import shape_of
from model_serving.controller.evidence import MOST_PROXIES
from model_serving.controller.nudge import nudge
from model_serving.controller.pulse import Pulse
from model_serving.controller.recorded_issuers import recorded_issuers
from model_serving.controller.reshape_gate import ReshapeGate
from model_serving.controller.settings import external_base
from model_serving.controller.tools import Tools
from model_serving.controller.wanted import wanted_children
from model_serving.kube.errors import Conflict, Forbidden, KubeError, NotFound
from model_serving.kube.labels import OPERATOR
from model_serving.kube.resources import DEPLOYMENTS, NAMESPACES, Manifest
from model_serving.lifecycle.decide import Decision, decide
from model_serving.lifecycle.events import transitions
from model_serving.lifecycle.observed import Deadlines, Finding, Observed
from model_serving.lifecycle.reading import age_of, endpoint_name_of, read_endpoint
from model_serving.lifecycle.revision import Shape, digest
from model_serving.proxy_config import Issuer

log = logging.getLogger(__name__)

STATUS_MANAGER = f"{OPERATOR}-status"

_AWAITED_SECONDS = 1.0
_CONFLICT_SECONDS = 10.0
_HELD_SECONDS = 10.0
"""How often an endpoint that waits for its turn to follow the operator's settings asks again."""
_LEAVE_SECONDS = 15.0
_OURS = frozenset(str(kind) for kind in ConditionType)


class Reconciler:
    """Works on any endpoint; the queue sees to it that there is one look at a time at each."""

    def __init__(
        self,
        tools: Tools,
        *,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tools = tools
        self._settings = settings = tools.settings
        self._wall, self._monotonic = wall, monotonic
        self._deadlines = Deadlines(settings.progress_deadline_seconds, settings.secret_grace_seconds)
        self._pulses: dict[Key, Pulse] = {}
        self._unsettled: set[Key] = set()
        self._gate = ReshapeGate()
        self._leaves: dict[str, tuple[float, str]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """One look at an endpoint; the answer is when to look again without being asked, in seconds."""
        manifest = self._tools.cache.endpoint(key)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        try:
            return await self._work(key, manifest)
        except Awaited as error:
            log.debug("%s/%s: %s", *key, error)
            return _AWAITED_SECONDS
        except (Conflict, NotFound) as error:
            # It went or changed while we were at it, and the watch will say so: that is nobody's failure.
            log.debug("%s/%s: %s", *key, error)
            return _AWAITED_SECONDS

    async def _work(self, key: Key, manifest: Manifest) -> float:
        endpoint, problem = read_endpoint(manifest)
        owner, pulse = owner_of(endpoint), self._pulse(key)
        observed = await self._observe(key, endpoint, problem)
        decision = decide(observed, self._deadlines)
        self._gate.note(key, observed, decision)
        if endpoint.status.observed_generation == 0:
            # Before anything else happens, so that nobody takes an object without a status for a finished one.
            endpoint = await self._report(endpoint, decision.status)
        try:
            observed, decision = await self._act(key, owner, observed, decision)
        except (Conflict, NotFound):
            raise
        except Awaited:
            await self._report(endpoint, decision.status)
            raise
        except KubeError as error:
            # Nobody must need the logs to learn what is in the way.
            await self._report(endpoint, decide(replace(observed, refusal=str(error)), self._deadlines).status)
            raise
        self._gate.note(key, observed, decision)
        await self._report(endpoint, decision.status)
        await self._nudge(owner, observed, decision, pulse)
        again = self._next_look(key, decision, pulse)
        return again if observed.may_reshape else min(again, _HELD_SECONDS)

    # Observe

    async def _observe(self, key: Key, endpoint: ServingEndpoint, problem: Finding | None) -> Observed:
        owner, cache = owner_of(endpoint), self._tools.cache
        detail = self._monotonic() >= self._pulse(key).detail_due
        child = cache.child(DEPLOYMENTS, *key)
        own = child is not None and child.owner_uid == owner.uid
        deployment = cache.deployment(key) if own else None
        evidence = await self._tools.observer.gather(owner, deployment, detail=detail)
        problems = [p for p in (problem, self._name_conflict(endpoint)) if p is not None]
        ready = evidence.rollout.ready if evidence.rollout else 0
        silent = len(evidence.proxies or ()) < min(ready, MOST_PROXIES)
        history, leave = await self._tools.histories.load(owner), await self._leave(owner.namespace)
        shape = shape_of(endpoint, self._settings) if problem is None else Shape()
        return Observed(
            endpoint=endpoint,
            history=history,
            shape=shape,
            now=self._wall(),
            rollout=evidence.rollout,
            # Proxies that do not answer leave the last word standing.
            proxies=None if silent else evidence.proxies,
            problems=tuple(problems),
            upstream_leave=leave,
            issuers=await self._issuers(owner),
            limits_store=self._settings.limits_store,
            may_reshape=self._gate.may_pass(key, history, shape),
            url=self._url(service_url(owner, self._settings.cluster_domain), owner),
            external_url=self._url(external_base(self._settings, owner.namespace), owner),
            selector=pod_selector(owner),
        )

    @staticmethod
    def _url(base: str, owner: Owner) -> str:
        return f"{base}/serving-endpoints/{owner.endpoint_name}/invocations" if base else ""

    def _name_conflict(self, endpoint: ServingEndpoint) -> Finding | None:
        """The older of two endpoints of one name serves, the other waits."""
        own = endpoint.metadata.creation_timestamp, endpoint.metadata.uid
        for (namespace, name), other in self._tools.cache.endpoints():
            meta = other["metadata"]
            if namespace != endpoint.metadata.namespace or name == endpoint.metadata.name:
                continue
            if meta.get("deletionTimestamp") or endpoint_name_of(other) != endpoint.endpoint_name:
                continue
            if age_of(other) < own:
                return Finding(
                    Reason.NAME_CONFLICT,
                    f"the older endpoint {name} has the name {endpoint.endpoint_name} in this namespace: "
                    f"delete one of them, or create this one anew with another endpointName",
                )
        return None

    async def _leave(self, namespace: str) -> str:
        """Whether the admin lets this namespace call private upstreams."""
        known, now = self._leaves.get(namespace), self._monotonic()
        if known is not None and now < known[0]:
            return known[1]
        try:
            found = await self._tools.client.get(NAMESPACES, None, namespace, metadata_only=True)
            labels = found["metadata"].get("labels") or {}
        except Forbidden:
            labels = {}
        leave = "private" if labels.get(LEAVE_LABEL) == "true" else "public"
        self._leaves[namespace] = now + _LEAVE_SECONDS, leave
        return leave

    async def _issuers(self, owner: Owner) -> tuple[Issuer, ...]:
        """Whose tokens callers may show. While keys cannot be read, those that the policy has stay in it."""
        issuers = self._tools.issuers
        recorded = () if issuers.complete else await recorded_issuers(self._tools.client, owner)
        return issuers.with_recorded(recorded)

    # Act

    async def _act(self, key: Key, owner: Owner, observed: Observed, decision: Decision) -> tuple[Observed, Decision]:
        """Brings the children about; what stands in the way becomes a part of what is observed and said."""
        wanted = wanted_children(owner, observed, decision, self._settings)
        if not wanted:
            return observed, decision
        verify = self._tools.sweeper.take_due(key)
        try:
            for manifest in wanted:
                await self._tools.children.ensure(manifest, verify=verify)
            await self._tools.children.prune(key, owner.uid, wanted)
        except NotOurs as error:
            observed = replace(observed, problems=(Finding(Reason.NAME_CONFLICT, str(error)),))
        except Refused as error:
            if error.invalid:
                observed = replace(observed, problems=(Finding(Reason.INVALID_SPEC, str(error)),))
            else:
                observed = replace(observed, refusal=str(error))
        else:
            self._tools.histories.remember(owner, decision.history)
            return observed, decision
        return observed, decide(observed, self._deadlines)

    async def _nudge(self, owner: Owner, observed: Observed, decision: Decision, pulse: Pulse) -> None:
        if decision.policy is None:
            return
        version = decision.policy.version
        lagging = any(p.policy_version != version for p in observed.proxies or ()) or _lacks_secret(decision.status)
        token = digest([version, observed.endpoint.metadata.annotations.get(RELOAD_ANNOTATION, "")])
        value = pulse.wants_nudge(token, lagging, self._monotonic())
        if value is not None:
            await nudge(self._tools.client, owner, value)

    # Report

    async def _report(self, endpoint: ServingEndpoint, status: EndpointStatus) -> ServingEndpoint:
        """Writes the status if it differs from the last; the answer is the endpoint as it is then."""
        if _comparable(endpoint.status) == _comparable(status):
            return endpoint
        meta = endpoint.metadata
        manifest = {
            "apiVersion": endpoint.api_version,
            "kind": endpoint.kind,
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        answer = await self._tools.client.apply_status(manifest, manager=STATUS_MANAGER)
        self._tools.metrics.status_write()
        known = self._tools.cache.endpoint(endpoint.key)
        if known is not None and known["metadata"].get("uid") == meta.uid:
            # Unless it went meanwhile: what was learned since must not be overwritten by what was true before.
            self._tools.cache.see_endpoint(answer)
        await self._tools.recorder.record(endpoint, transitions(endpoint.status, status))
        return endpoint.model_copy(update={"status": status})

    # Remember

    def _pulse(self, key: Key) -> Pulse:
        known = self._pulses.get(key)
        if known is None:
            spread = zlib.crc32("/".join(key).encode()) / 2**32
            known = self._pulses[key] = Pulse(spread=spread)
        return known

    def _next_look(self, key: Key, decision: Decision, pulse: Pulse) -> float:
        settled = _is_settled(decision.status)
        (self._unsettled.discard if settled else self._unsettled.add)(key)
        pause = pulse.next_look(settled, len(self._unsettled), self._monotonic())
        if decision.target is None:
            pause = _CONFLICT_SECONDS
        return min(pause, decision.look_again) if decision.look_again is not None else pause

    def _forget(self, key: Key) -> None:
        self._pulses.pop(key, None)
        self._unsettled.discard(key)
        self._gate.forget(key)
        self._tools.queue.forget(key)
        self._tools.sweeper.take_due(key)
        self._tools.histories.forget(key)


def _comparable(status: EndpointStatus) -> EndpointStatus:
    """Without the conditions of other writers, which are none of ours."""
    return status.model_copy(update={"conditions": [c for c in status.conditions if c.type in _OURS]})


def _is_settled(status: EndpointStatus) -> bool:
    kinds = {c.type: c.status for c in status.conditions}
    return kinds.get(ConditionType.READY) == "True" and ConditionType.RECONCILING not in kinds


def _lacks_secret(status: EndpointStatus) -> bool:
    return any(c.reason == Reason.SECRET_NOT_FOUND for c in status.conditions)
