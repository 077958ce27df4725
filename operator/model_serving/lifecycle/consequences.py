"""What callers notice of a write, in sentences. Pure; called by `plan.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model_serving.api.access import includes, principal_name
from model_serving.api.endpoint import ServingEndpoint, secret_refs
from model_serving.api.names import CREATOR_ANNOTATION, kept_keys_name
from model_serving.api.policy import LimitKey, PermissionLevel, RateLimit
from model_serving.lifecycle.proxy_config import all_limits, max_replicas, nobody_may_call, unshareable_limits


@dataclass(frozen=True, slots=True)
class Step:
    """One write: the endpoint before (None: there was none) and after, and the config versions on both sides.

    `asked` is the version that is asked for after it (0: nobody knows the numbers, for `old` is only a file that
    somebody wrote), `serving` the one that serves before it (0: none), `taken_back`
    the open one that loses its purpose by it, `cancelled` the one that an annotation cancels (0: none). `tried_again`:
    `asked` had failed or was cancelled. `pods`: whether proxies are pods that `spec.proxy` shapes.
    """

    old: ServingEndpoint | None
    new: ServingEndpoint
    asked: int
    new_version: bool
    rolls: bool = False
    serving: int = 0
    taken_back: int = 0
    cancelled: int = 0
    tried_again: bool = False
    pods: bool = True


def consequences(step: Step) -> Iterator[str]:
    """The sentences, the most important first."""
    yield from _versions(step)
    yield from _callers(step)
    yield from _secrets(step)
    yield from _access(step)
    yield from _limits(step)
    yield from _scale(step)


def _versions(step: Step) -> Iterator[str]:
    if step.old is None:
        yield "calls are answered as soon as config version 1 is ready"
    elif not step.asked:
        if step.new_version:
            yield "calls go on: the present version serves until the new one is ready"
        elif step.rolls:
            yield "calls go on: the proxies are replaced one after the other"
    elif step.new_version or step.tried_again:
        again = " again" if step.tried_again else ""
        if step.serving:
            yield f"calls go on: version {step.serving} serves until version {step.asked} is ready{again}"
        else:
            yield f"no version serves yet: calls are answered as soon as version {step.asked} is ready"
    elif step.cancelled:
        yield f"version {step.serving} serves on: version {step.cancelled} is cancelled"
    elif step.taken_back:
        yield f"version {step.serving} serves on: version {step.taken_back} is taken back, no new version is made"
    elif step.rolls and step.old.spec.config == step.new.spec.config:
        yield f"calls go on: the proxies of version {step.serving or step.asked} are replaced one after the other"


def _callers(step: Step) -> Iterator[str]:
    """What calls have to look like, where that changes."""
    if step.old is None:
        return
    before = {entity.name: entity for entity in step.old.spec.config.served_entities}
    after = {entity.name: entity for entity in step.new.spec.config.served_entities}
    for name in before.keys() - after.keys():
        path = f"/serving-endpoints/{step.new.endpoint_name}/served-models/{name}/invocations"
        yield f"calls to {path} will end with 404: the entity {name} is gone"
    tasks = [{str(e.external_model.task) for e in each.values() if e.external_model} for each in (before, after)]
    if tasks[0] != tasks[1] and all(tasks):
        told = [", ".join(sorted(each)) for each in tasks]
        yield f"callers have to send other requests: the task changes from {told[0]} to {told[1]}"
    tls = [endpoint.spec.proxy.tls is not None for endpoint in (step.old, step.new)]
    if step.pods and tls[0] != tls[1]:
        yield f"the endpoint's Service changes to {'https:// on port 443' if tls[1] else 'http:// on port 80'}"


def _secrets(step: Step) -> Iterator[str]:
    known = {(ref.name, ref.key) for _, ref in secret_refs(step.old.spec)} if step.old else set()
    # What REST was given in plain text is written before the endpoint is.
    known |= {(kept_keys_name(step.new.metadata.name), ref.key) for _, ref in secret_refs(step.new.spec)}
    for name, key in sorted({(ref.name, ref.key) for _, ref in secret_refs(step.new.spec)} - known):
        yield f"the new version needs the key {key} of the Secret {name}, and does not serve without it"


_QUERYING = PermissionLevel.CAN_QUERY


def _access(step: Step) -> Iterator[str]:
    before, after = (_levels(endpoint) if endpoint else {} for endpoint in (step.old, step.new))
    for who in [*before, *(who for who in after if who not in before)]:
        old, new = before.get(who), after.get(who)
        if old == new or step.old is None:
            continue
        if new is None:
            lost = "calls will end with 403" if includes(old, _QUERYING) else "may no longer see the endpoint"
            yield f"{who} loses {old}: {lost}, unless another entry gives it"
        elif includes(old, new):
            lost = ": calls will end with 403, unless another entry gives it" if not includes(new, _QUERYING) else ""
            yield f"{who} has {new} instead of {old}{lost}"
        else:
            yield f"{who} gets {new}"
    # On one machine there is somebody who may do everything.
    if step.pods and nobody_may_call(step.new) and (step.old is None or not nobody_may_call(step.old)):
        yield "nobody may call the endpoint: neither a creator nor spec.access gives CAN_QUERY"


def _levels(endpoint: ServingEndpoint) -> dict[str, PermissionLevel]:
    """The level of each principal that is named, without the creator, who keeps his."""
    creator, levels = endpoint.metadata.annotations.get(CREATOR_ANNOTATION, ""), dict[str, PermissionLevel]()
    for entry in endpoint.spec.access or []:
        name = principal_name(entry, endpoint.metadata.namespace)
        who = f"group {name}" if entry.kind == "Group" else name
        if who != creator and not includes(levels.get(who), entry.permission_level):
            levels[who] = entry.permission_level
    return levels


Amounts = dict[tuple[str, str], int]


def _limits(step: Step) -> Iterator[str]:
    before, after = (_amounts(endpoint) if endpoint else {} for endpoint in (step.old, step.new))
    for what in [*before, *(what for what in after if what not in before)]:
        old, new = before.get(what), after.get(what)
        if old == new or step.old is None:
            continue
        unit, who = what
        if new is None:
            yield f"{unit} of {who} are no longer limited (until now {old} per minute)"
        elif old is None:
            yield f"{unit} of {who} are limited to {new} per minute at once: more end with 429"
        elif new < old:
            yield f"{unit} of {who} are limited to {new} instead of {old} per minute at once: more end with 429"
        else:
            yield f"{unit} of {who} are limited to {new} instead of {old} per minute at once"


def _amounts(endpoint: ServingEndpoint) -> Amounts:
    """The smallest limit of each kind: all are enforced."""
    amounts: Amounts = {}
    for limit in all_limits(endpoint):
        for unit, amount in (("calls", limit.calls), ("tokens", limit.tokens)):
            if amount is not None:
                what = unit, _who(limit)
                amounts[what] = min(amount, amounts.get(what, amount))
    return amounts


def _who(limit: RateLimit) -> str:
    if limit.key is LimitKey.ENDPOINT:
        return "all callers together"
    if limit.key is LimitKey.USER_GROUP:
        return f"group {limit.principal} together"
    return limit.principal or "each user"


def _scale(step: Step) -> Iterator[str]:
    if not step.pods:
        return
    if step.old is not None:
        before, after = (max_replicas(endpoint) for endpoint in (step.old, step.new))
        if before != after:
            yield f"{after} instead of {before} proxies: calls under way are finished, nothing is rolled out"
    if found := unshareable_limits(step.new, max_replicas(step.new)):
        yield f"without a common store for limits the endpoint would be {found.reason}: {found.message}"
