"""Observes the roll-out of one endpoint: its Deployment, and where that is not enough, its pods and proxies.

Called by the reconciler; what comes out is `lifecycle/observed.py`'s. Pods are listed only while something is
unsettled or when detail is asked for: a settled endpoint costs no request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from model_serving.api.conditions import Cause, Reason
from model_serving.controller.desired.deployment import ADMIN_PORT, REVISION
from model_serving.controller.desired.owner import Owner, pod_selector
from model_serving.controller.pod_causes import is_active, is_ready, pod_findings
from model_serving.controller.proxy_reader import ProxyReader
from model_serving.kube.client import Client, Selection
from model_serving.kube.resources import PODS, Manifest
from model_serving.lifecycle.observed import Finding, Rollout
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialReport, ProxyStatus

MOST_PROXIES = 20
"""How many proxies of one endpoint are asked for detail."""

_TELLING = (
    Cause.IMAGE_PULL_FAILED,
    Cause.OUT_OF_MEMORY,
    Cause.PROXY_CRASH_LOOPING,
    Cause.CREATE_CONTAINER_FAILED,
    Cause.UNSCHEDULABLE,
    Cause.CONFIG_INVALID,
    Cause.SECRET_INVALID,
    Cause.TOKEN_NOT_FETCHED,
    Cause.NOT_READY,
    Reason.SECRET_NOT_FOUND,
)
"""Causes, most telling first. What a missing Secret explains comes last: it is a reason to wait, the others are not."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen. `proxies` is None when the proxies were not asked."""

    rollout: Rollout | None
    proxies: tuple[ProxyStatus, ...] | None = None


class Observer:
    """Gathers the evidence of any endpoint."""

    def __init__(self, client: Client, reader: ProxyReader, *, admin_port: int = ADMIN_PORT) -> None:
        self._client = client
        self._reader = reader
        self._admin_port = admin_port

    async def gather(self, owner: Owner, deployment: Manifest | None, *, detail: bool) -> Evidence:
        """The evidence. `deployment` is as the cache has it; `detail` asks the proxies even of a settled roll-out.

        Raises `KubeError` if the pods cannot be listed.
        """
        if deployment is None:
            return Evidence(None)
        rollout = rollout_of(deployment)
        if rollout.complete and not detail:
            return Evidence(rollout)
        selection = Selection(PODS, owner.namespace, labels=pod_selector(owner))
        pods = [pod for pod in (await self._client.list(selection)).items if _is_owned(pod) and is_active(pod)]
        proxies = await self._ask(pods, rollout.revision)
        return Evidence(with_pods(rollout, pods, proxies), tuple(p for p in proxies if p.ready))

    async def _ask(self, pods: list[Manifest], revision: str) -> list[ProxyStatus]:
        """New proxies that are not ready first: they know what is missing."""
        ordered = sorted(pods, key=lambda pod: (is_ready(pod), _revision(pod) != revision, pod["metadata"]["name"]))
        hosts = [pod.get("status", {}).get("podIP") for pod in ordered]
        return await self._reader.read([(host, self._admin_port) for host in hosts if host][:MOST_PROXIES])


def rollout_of(deployment: Manifest) -> Rollout:
    """What the Deployment alone says. While old and new pods mix, it does not tell whose the ready ones are: then the
    worst is assumed, which `with_pods` puts right."""
    meta, spec, status = deployment["metadata"], deployment.get("spec") or {}, deployment.get("status") or {}
    pods, updated, ready = (int(status.get(k) or 0) for k in ("replicas", "updatedReplicas", "readyReplicas"))
    conditions = {c.get("type"): c for c in status.get("conditions") or []}
    progressing, failure = conditions.get("Progressing") or {}, conditions.get("ReplicaFailure") or {}
    return Rollout(
        revision=_annotation((spec.get("template") or {}).get("metadata") or {}),
        settled=int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0),
        replicas=1 if spec.get("replicas") is None else int(spec["replicas"]),
        pods=pods,
        ready=ready,
        updated=updated,
        updated_ready=max(0, ready - (pods - updated)),
        deadline_exceeded=progressing.get("reason") == "ProgressDeadlineExceeded",
        refusal=str(failure.get("message", "")) if failure.get("status") == "True" else "",
    )


def with_pods(rollout: Rollout, pods: Iterable[Manifest], proxies: Iterable[ProxyStatus]) -> Rollout:
    """The roll-out as its pods show it, with the causes of what is not ready."""
    pods = list(pods)
    updated = [pod for pod in pods if _revision(pod) == rollout.revision]
    waiting = [pod for pod in updated if not is_ready(pod)]
    findings = [finding for pod in waiting for finding in pod_findings(pod)]
    if waiting:
        if any(p.revision == rollout.revision and _credential_findings(p) for p in proxies):
            # They run and say what they lack: that one of them crashed once, after a node's restart, is past.
            findings = [f for f in findings if f.reason != Cause.PROXY_CRASH_LOOPING]
        findings += [f for p in proxies if p.revision == rollout.revision and not p.ready for f in _proxy_findings(p)]
    return Rollout(
        revision=rollout.revision,
        settled=rollout.settled,
        replicas=rollout.replicas,
        pods=len(pods),
        ready=sum(is_ready(pod) for pod in pods),
        updated=len(updated),
        updated_ready=len(updated) - len(waiting),
        deadline_exceeded=rollout.deadline_exceeded,
        refusal=rollout.refusal,
        findings=_ordered(findings),
    )


def _proxy_findings(proxy: ProxyStatus) -> list[Finding]:
    found = _credential_findings(proxy)
    # A proxy lists its missing credentials among its problems too; only what else is wrong counts against it.
    if not found and proxy.problems:
        found.append(Finding(Cause.NOT_READY, f"a proxy runs and is not ready: {'; '.join(sorted(proxy.problems))}"))
    return found


def _credential_findings(proxy: ProxyStatus) -> list[Finding]:
    found = [_credential_finding(report) for report in proxy.credentials if report.problem]
    # Without its Secret a token cannot be fetched: that explains it.
    return found or [Finding(Cause.TOKEN_NOT_FETCHED, f"{t.name}: {t.problem}") for t in proxy.tokens if t.problem]


def _credential_finding(report: CredentialReport) -> Finding:
    if report.problem == CREDENTIAL_MISSING:
        text = f"Secret {report.secret} with key {report.key} does not exist: create the Secret, or add the key to it"
        return Finding(Reason.SECRET_NOT_FOUND, text)
    text = f"correct the key {report.key} of Secret {report.secret}, which is {report.problem}"
    return Finding(Cause.SECRET_INVALID, text)


def _ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    unique = sorted(set(findings), key=lambda f: (_TELLING.index(f.reason), f.message))
    return tuple(unique)


def _is_owned(pod: Manifest) -> bool:
    # A pod that somebody labelled like ours is none of ours.
    return any(ref.get("kind") == "ReplicaSet" for ref in pod["metadata"].get("ownerReferences") or [])


def _revision(pod: Manifest) -> str:
    return _annotation(pod["metadata"])


def _annotation(meta: dict[str, Any]) -> str:
    return str((meta.get("annotations") or {}).get(REVISION, ""))
