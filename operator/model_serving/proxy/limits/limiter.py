"""Rate limits: at most n calls, or tokens, in any 60 seconds. Pure: the clock is an argument. Asked by the pipeline.

A call is admitted under all of its caller's limits or under none. Tokens are reserved by estimate and settled with what
was used. One proxy counts in memory; with a common store, the store counts and `ledger.py` holds what it leased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from model_serving.proxy.auth import Principal
from model_serving.proxy.call import Fields
from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy.limits.estimate import estimate
from model_serving.proxy.limits.ledger import Ledger
from model_serving.proxy.limits.plan import UNBOUNDED, Lack, Plan, Slot, refusal, scarcest
from model_serving.proxy.limits.reservation import Reservation, render
from model_serving.proxy.limits.rules import Rules, Term
from model_serving.proxy.limits.shared import reserve_shared
from model_serving.proxy.limits.window import WINDOW_SECONDS, Window

_MOST_PLANS = 4096
_SWEEP_SECONDS = 20.0


class Asking(msgspec.Struct, frozen=True, gc=False):
    """A call that asks to be admitted."""

    principal: Principal
    body: bytes
    fields: Fields


class Limiter:
    """The windows of one endpoint. They outlive policies: a changed n applies to what was already admitted."""

    def __init__(self, span: int = WINDOW_SECONDS) -> None:
        self.ledger: Ledger | None = None
        """The account with the common store; None: this proxy counts for itself."""
        self.span = span
        self._windows: dict[str, Window] = {}
        self._plans: dict[Principal, Plan] = {}
        self._rules = Rules()
        self._second = 0
        self._next_sweep = 0.0

    @property
    def reserved(self) -> int:
        """Tokens that are held for calls under way."""
        return sum(window.held for window in self._windows.values())

    def reserve(self, rules: Rules, asking: Asking, now: float, again: Callable[[], None]) -> Reservation | None:
        """Admits a call under all limits, or under none: LimitExceeded names the limit and when to come back.

        None: nothing is decided yet, `again` is called when it is worth asking once more.
        """
        if rules is not self._rules:
            self.follow(rules)
        plan = self._plans.get(asking.principal)
        if plan is None:
            plan = self._plan(asking.principal)
        second = int(now)
        if second > self._second:
            self._second = second
        else:
            second = self._second  # a clock that runs back stands still
        if self.ledger is not None:
            return reserve_shared(self.ledger, plan, self._cost(plan, asking), now, again)
        calls, tokens, cost = plan.calls, plan.tokens, 0
        if plan.either:
            calls, tokens = plan.choose(lambda slot: scarcest((slot,), second)[0])
        fewest, scarce = scarcest(calls, second)
        least, tight = UNBOUNDED, None
        if tokens:
            cost = min(estimate(rules.task, asking.body, asking.fields), plan.share_tokens or 1)
            least, tight = scarcest(tokens, second)
        if fewest < 1 or least < cost:
            raise self._refused(calls, tokens, cost, now)
        for slot in calls:
            window = slot.window
            window.step[1] += 1
            window.total += 1
        for slot in tokens:
            window = slot.window
            window.held += cost
            window.total += cost
        return Reservation(calls, tokens, cost, second, render(scarce, fewest - 1, tight, least - cost))

    def join(self, ledger: Ledger | None) -> None:
        """From now on a common store counts (`ledger`), or this proxy for itself (None)."""
        self.ledger = ledger
        self._plans.clear()
        for window in self._windows.values():
            window.account = None
        self._open_shared()

    def sweep(self, now: float) -> None:
        """Forgets the windows that are empty; called every second or so, works rarely."""
        self._second = max(self._second, int(now))
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_SECONDS
        self._plans.clear()  # they refer to windows
        second = int(now)
        for name in [name for name, window in self._windows.items() if window.idle(second)]:
            del self._windows[name]
        if self.ledger is not None:
            self.ledger.sweep(now)

    def follow(self, rules: Rules) -> None:
        """Goes by these rules from now on."""
        if rules is self._rules:
            return
        self._rules = rules
        self._plans.clear()
        self._open_shared()

    def _open_shared(self) -> None:
        """What others use too is known from the start, so that this proxy knows how far it may go alone."""
        if self.ledger is None:
            return
        self.ledger.parts = self._rules.parts
        for term in self._rules.shared():
            self.ledger.account(self._slot(term).window, term.amount)

    def _plan(self, principal: Principal) -> Plan:
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        plan = self._plans[principal] = Plan(*self._rules.of(principal), self._slot)
        return plan

    def _slot(self, term: Term) -> Slot:
        window = self._windows.get(term.counter)
        if window is None:
            window = self._windows[term.counter] = Window(term.counter, self.span)
        return Slot(window, term, self._rules.parts)

    def _cost(self, plan: Plan, asking: Asking) -> int:
        """The tokens that a call may need, at most what its limits allow at all."""
        if not plan.tokens and not plan.either_tokens:
            return 0
        return min(estimate(self._rules.task, asking.body, asking.fields), plan.most_tokens or 1)

    def _refused(self, calls: Sequence[Slot], tokens: Sequence[Slot], cost: int, now: float) -> LimitExceeded:
        asked = [*((slot, 1) for slot in calls), *((slot, cost) for slot in tokens)]
        lacking = [
            Lack(slot, amount, room, slot.window.wait(amount, slot.share, now))
            for slot, amount in asked
            if (room := slot.share - slot.window.total) < amount
        ]
        return refusal(lacking, self._rules.parts)
