"""The status of an endpoint, built from its situation. Pure; the platforms write it when it differs from the last."""

from __future__ import annotations

from model_serving.api.conditions import ConditionType, Reason
from model_serving.api.names import CREATOR_ANNOTATION
from model_serving.api.status import (
    Condition,
    ConfigUpdateState,
    CredentialStatus,
    DeploymentState,
    EndpointState,
    EndpointStatus,
    EntityState,
    ReadyState,
    ServedEntityStatus,
)
from model_serving.lifecycle.proxy_config import max_replicas, share, tls_secret
from model_serving.lifecycle.revision import Outcome, Revision
from model_serving.lifecycle.situation import Situation, parse_time
from model_serving.lifecycle.verdicts import Verdict, judge
from model_serving.proxy_config import TLS_CERTIFICATE, TLS_KEY, Policy, ProxyStatus


def build_status(situation: Situation) -> EndpointStatus:
    """Everything that is said of an endpoint, from one verdict."""
    verdict = judge(situation)
    endpoint, shown = situation.observed.endpoint, situation.serving or situation.target
    model = shown.parsed_config.served_entities[0].external_model if shown else None
    rollout = situation.rollout
    return EndpointStatus(
        observed_generation=endpoint.metadata.generation,
        conditions=_conditions(situation, verdict),
        id=endpoint.databricks_id,
        url=situation.observed.external_url or _url(situation.observed.url, shown),
        creator=endpoint.metadata.annotations.get(CREATOR_ANNOTATION, ""),
        task=str(model.task) if model else "",
        model=f"{model.provider}/{model.name}" if model else "",
        config_version=situation.serving.config_version if situation.serving else 0,
        pending_config_version=_pending_version(situation),
        state=EndpointState(
            ready=ReadyState.READY if situation.available else ReadyState.NOT_READY,
            config_update=verdict.config_update,
        ),
        served_entities=_entities(situation, verdict),
        policy_version=situation.policy.version if situation.policy else endpoint.status.policy_version,
        policy_pods=_policy_pods(situation),
        credentials=_credentials(situation),
        replicas=rollout.pods if rollout else 0,
        ready_replicas=rollout.ready if rollout else 0,
        selector=situation.observed.selector,
    )


def _url(base: str, shown: Revision | None) -> str:
    """Where the revision that serves is called: the scheme follows what its proxies speak."""
    speaks_tls = shown is not None and tls_secret(shown)
    return base.replace("http://", "https://", 1) if speaks_tls else base


def _pending_version(s: Situation) -> int | None:
    pending = s.changes_config and s.open is not None and s.open.outcome is Outcome.PENDING
    return s.open.config_version if pending and s.open else None


def _conditions(s: Situation, verdict: Verdict) -> list[Condition]:
    ready = s.available if verdict.ready is None else verdict.ready
    said: list[tuple[ConditionType, str, str, str]] = [
        (ConditionType.AVAILABLE, _word(s.available, verdict.known), *_availability(s, verdict)),
        (ConditionType.READY, _word(ready, verdict.known), verdict.reason, verdict.message),
    ]
    if verdict.reconciling:
        said.append((ConditionType.RECONCILING, "True", verdict.reason, verdict.message))
    if verdict.stalled:
        said.append((ConditionType.STALLED, "True", verdict.reason, verdict.message))
    if s.policy is not None and s.policy.limits:
        said.append(_limits_exact(s))
    if certificate := _certificate(s):
        said.append(certificate)
    if tokens := _tokens(s):
        said.append(tokens)
    return [_condition(s, *words) for words in said]


def _word(holds: bool, known: bool) -> str:
    if not known and not holds:
        return "Unknown"
    return "True" if holds else "False"


def _availability(s: Situation, verdict: Verdict) -> tuple[str, str]:
    if s.available and s.serving:
        return Reason.READY, f"config version {s.serving.config_version} answers calls"
    return verdict.reason, verdict.message


def _limits_exact(s: Situation) -> tuple[ConditionType, str, str, str]:
    replicas, kind = max_replicas(s.observed.endpoint), ConditionType.LIMITS_EXACT
    if s.policy is not None and s.policy.limits_store is not None:
        return kind, *_limits_in_store(s, s.policy)
    if replicas <= 1 or s.policy is None:
        return kind, "True", Reason.LIMITS_EXACT, "one proxy counts all calls"
    remedy = "for exact limits give the operator a store (MODEL_SERVING_LIMITS_STORE), or run one replica"
    told = f"{replicas} proxies count apart: in any minute each grants {_shares(s.policy)}; {remedy}"
    return kind, "False", Reason.LIMITS_DIVIDED, told


def _limits_in_store(s: Situation, policy: Policy) -> tuple[str, str, str]:
    proxies = s.observed.proxies
    if not proxies:
        last = s.previous(ConditionType.LIMITS_EXACT)
        if last is not None:
            return last.status, last.reason, last.message
        return "Unknown", Reason.RECONCILING, "the proxies have not been asked yet"
    problems = sorted(proxy.limits_problem for proxy in proxies if proxy.limits_problem)
    if not problems:
        return "True", Reason.LIMITS_EXACT, "the proxies count together in the common store"
    return (
        "False",
        Reason.LIMITS_STORE_LOST,
        f"{len(problems)} of {len(proxies)} proxies count apart, for {problems[0]}: meanwhile each of them grants "
        f"{_shares(policy)} in any minute; see to the store that MODEL_SERVING_LIMITS_STORE of the operator names",
    )


def _shares(policy: Policy) -> str:
    """What one proxy grants by itself."""
    said: list[str] = []
    for limit in policy.limits:
        whom = f"{limit.key} {limit.principal}".strip()
        for amount, what in ((limit.calls, "calls"), (limit.tokens, "tokens")):
            if amount is not None:
                said.append(f"{share(amount, policy.limits_parts)} {what} per {whom}")
    return ", ".join(said)


def _certificate(s: Situation) -> tuple[ConditionType, str, str, str] | None:
    """Whether the serving proxies took over the certificate that their Secret holds."""
    secret = tls_secret(s.serving) if s.serving else ""
    if not secret:
        return None
    if s.observed.proxies is None:
        last = s.previous(ConditionType.CERTIFICATE_CURRENT)
        return (ConditionType.CERTIFICATE_CURRENT, last.status, last.reason, last.message) if last else None
    keys = (TLS_CERTIFICATE, TLS_KEY)
    reports = [c for p in s.observed.proxies if _counts(p) for c in p.credentials if c.key in keys]
    faults = sorted({f"{c.key} is {c.problem}" for c in reports if c.secret == secret and c.problem})
    if not faults:
        text = f"the certificate of Secret {secret} is in use"
        return ConditionType.CERTIFICATE_CURRENT, "True", Reason.CERTIFICATE_LOADED, text
    text = f"Secret {secret}: {'; '.join(faults)}; the proxies go on with the former certificate: correct the Secret"
    return ConditionType.CERTIFICATE_CURRENT, "False", Reason.CERTIFICATE_INVALID, text


def _tokens(s: Situation) -> tuple[ConditionType, str, str, str] | None:
    """Whether the serving proxies could renew the tokens that they fetch, where they do."""
    kind = ConditionType.TOKENS_CURRENT
    if not s.observed.proxies:  # nobody was asked, or nobody answered
        last = s.previous(kind)
        return (kind, last.status, last.reason, last.message) if last else None
    tokens = [token for proxy in s.observed.proxies if _counts(proxy) for token in proxy.tokens]
    failing = sorted((t for t in tokens if t.problem), key=lambda t: (t.expires_at, t.name))
    if not tokens:
        return None
    if not failing:
        return kind, "True", Reason.TOKENS_RENEWED, "tokens are renewed when they are due"
    worst = failing[0]
    expires = parse_time(worst.expires_at)
    serves = expires is not None and expires > s.observed.now
    meanwhile = "the former one serves until then" if serves else "calls that need it fail"
    text = f"{worst.name}, which expires at {worst.expires_at}, cannot be renewed, {meanwhile}: {worst.problem}"
    return kind, "False", Reason.TOKEN_NOT_RENEWED, text


def _condition(s: Situation, kind: ConditionType, status: str, reason: str, message: str) -> Condition:
    """Kubernetes' rule: the transition time moves only when the status does."""
    previous = s.previous(kind)
    now = s.observed.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = previous.last_transition_time if previous and previous.status == status else now
    return Condition.model_validate(
        {
            "type": str(kind),
            "status": status,
            "observedGeneration": s.observed.endpoint.metadata.generation,
            "lastTransitionTime": kept or now,
            "reason": str(reason),
            "message": message,
        }
    )


def _entities(s: Situation, verdict: Verdict) -> list[ServedEntityStatus]:
    states: list[ServedEntityStatus] = []
    if s.serving is not None:
        lost = not s.available
        state = DeploymentState.RECOVERING if lost else DeploymentState.READY
        states += _entity_states(s.serving, state, verdict.message if lost else "")
    for revision in _unfinished(s):
        states += _entity_states(revision, *_unfinished_state(revision, verdict))
    return states


def _unfinished(s: Situation) -> list[Revision]:
    """The open version, and the one that it superseded while it is under way."""
    if s.open is None or not s.changes_config:
        return []
    base = s.serving.config_version if s.serving else 0
    versions = [
        r
        for r in (s.update.history if s.update else ())
        if r.outcome is Outcome.SUPERSEDED and base < r.config_version < s.open.config_version
    ]
    return [*versions[-1:], s.open]


def _unfinished_state(revision: Revision, verdict: Verdict) -> tuple[DeploymentState, str]:
    if revision.outcome is Outcome.SUPERSEDED:
        return DeploymentState.ABORTED, "superseded by a newer config"
    if revision.outcome is Outcome.CANCELED:
        return DeploymentState.ABORTED, revision.message
    if revision.outcome is Outcome.FAILED or verdict.config_update is ConfigUpdateState.UPDATE_FAILED:
        return DeploymentState.FAILED, verdict.message
    return DeploymentState.CREATING, verdict.message


def _entity_states(revision: Revision, state: DeploymentState, message: str) -> list[ServedEntityStatus]:
    return [
        ServedEntityStatus(
            config_version=revision.config_version,
            name=entity.name,
            state=EntityState(deployment=state, deployment_state_message=message),
        )
        for entity in revision.parsed_config.served_entities
    ]


def _policy_pods(s: Situation) -> int:
    if s.observed.proxies is None or s.policy is None:
        return s.observed.endpoint.status.policy_pods
    return sum(p.ready and p.policy_version == s.policy.version for p in s.observed.proxies)


def _credentials(s: Situation) -> list[CredentialStatus]:
    if s.observed.proxies is None:
        return s.observed.endpoint.status.credentials
    loaded: dict[tuple[str, str], list[str]] = {}
    for report in (c for p in s.observed.proxies if _counts(p) for c in p.credentials):
        if not report.problem:
            loaded.setdefault((report.secret, report.key), []).append(report.loaded_at)
    return [
        CredentialStatus(name=name, key=key, loaded_at=max(times), pods=len(times))
        for (name, key), times in sorted(loaded.items())
    ]


def _counts(proxy: ProxyStatus) -> bool:
    return proxy.ready and not proxy.draining
