"""A policy's limits, compiled: which limits count for which caller. Pure; made once per policy, asked once per caller.

Precedence, for calls and for tokens apart: the limits that name the caller, else those of the caller's groups, else the
default of `key: user`. The endpoint's limit always counts besides. A limit of a group is shared by all its members;
who is in several limited groups may use what any of them has left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from model_serving.proxy.auth import Principal
from model_serving.proxy.call import CHAT
from model_serving.proxy_config import Limit

CALLS, TOKENS = "calls", "tokens"
KEYS = ("user", "user_group", "service_principal", "endpoint")


class Term(NamedTuple):
    """One limit as it counts for one caller."""

    counter: str
    """Names the window: what is counted, and of whom."""
    key: str
    """As the policy spells it; told in answers and metrics."""
    whom: str
    """Who is limited, in words."""
    amount: int
    """Most per minute, over all proxies."""


class Terms(NamedTuple):
    """What counts for one caller in one measure: all of `always`, and one of `either` if there are any."""

    always: tuple[Term, ...]
    either: tuple[Term, ...]


class Rules:
    """The limits of one policy. `parts` proxies at most share them."""

    def __init__(self, limits: Sequence[Limit] = (), parts: int = 1, task: str = CHAT) -> None:
        self.limits = tuple(limits)
        self.parts = max(parts, 1)
        self.task = task

    def __bool__(self) -> bool:
        return bool(self.limits)

    def of(self, principal: Principal) -> tuple[Terms, Terms]:
        """What counts for a caller: in calls, and in tokens."""
        return self._terms(CALLS, principal), self._terms(TOKENS, principal)

    def shared(self) -> list[Term]:
        """The counters in which several callers, and so several proxies, count."""
        return [
            _term(measure, limit, amount, limit.principal)
            for limit in self.limits
            for measure in (CALLS, TOKENS)
            if limit.key in ("endpoint", "user_group") and (amount := getattr(limit, measure)) is not None
        ]

    def _terms(self, measure: str, principal: Principal) -> Terms:
        found = [(limit, amount) for limit in self.limits if (amount := getattr(limit, measure)) is not None]
        always = [_term(measure, limit, amount, "") for limit, amount in found if limit.key == "endpoint"]
        named = [
            _term(measure, limit, amount, principal.name)
            for limit, amount in found
            if limit.key in ("user", "service_principal") and limit.principal == principal.name
        ]
        groups = [
            _term(measure, limit, amount, limit.principal)
            for limit, amount in found
            if limit.key == "user_group" and limit.principal in principal.groups
        ]
        default = [
            _term(measure, limit, amount, principal.name)
            for limit, amount in found
            if limit.key == "user" and not limit.principal
        ]
        own = named or groups or default
        either = _strictest(own) if own is groups else ()
        if len(either) > 1:
            return Terms(_strictest(always), either)
        return Terms(_strictest([*always, *own]), ())


def _term(measure: str, limit: Limit, amount: int, name: str) -> Term:
    if limit.key == "endpoint":
        kind, whom = "endpoint", "the endpoint"
    elif limit.key == "user_group":
        kind, whom = "group", f"the group {limit.principal}"
    else:
        kind, whom = "user", "this caller" if limit.principal else "each user"
    return Term(f"{measure}:{kind}:{name}", limit.key, whom, amount)


def _strictest(terms: Sequence[Term]) -> tuple[Term, ...]:
    """One per counter: two limits of one kind count in one window."""
    found: dict[str, Term] = {}
    for term in terms:
        if term.counter not in found or term.amount < found[term.counter].amount:
            found[term.counter] = term
    return tuple(found.values())
