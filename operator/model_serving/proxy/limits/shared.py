"""Admission where proxies share their limits through a common store. Pure; called by `limiter.py`."""

from __future__ import annotations

from collections.abc import Callable

from model_serving.proxy.limits.ledger import Ledger, Standing
from model_serving.proxy.limits.plan import UNBOUNDED, Lack, Plan, Slot, refusal
from model_serving.proxy.limits.reservation import Reservation, render_shared


def reserve_shared(ledger: Ledger, plan: Plan, cost: int, now: float, again: Callable[[], None]) -> Reservation | None:
    """Admits a call by leases, or apart by this proxy's share. None: the store is asked, `again` follows.

    Raises LimitExceeded.
    """
    if ledger.standing is Standing.ASKING:
        ledger.wait(again)
        return None
    second = int(now)

    def room(slot: Slot) -> int:
        if slot.window.second < second:
            slot.window.advance(second)
        return ledger.free(slot.window, slot.most, slot.share, now)

    calls, tokens = plan.choose(room) if plan.either else (plan.calls, plan.tokens)
    apart = ledger.standing is Standing.APART
    if apart:
        cost = min(cost, plan.share_tokens or 1)
    lacking = [(slot, 1) for slot in calls if room(slot) < 1]
    if tokens:
        lacking += [(slot, cost) for slot in tokens if room(slot) < cost]
    if not lacking:
        return _admit(ledger, calls, tokens, cost, now)
    refused = [lack for lack in lacking if apart or lack[0].most <= 0 or ledger.denied(lack[0].window, now)]
    if refused:
        raise refusal([_lack(ledger, slot, amount, now) for slot, amount in refused], ledger.parts if apart else 1)
    for slot, amount in lacking:
        ledger.demand(slot.window, amount)
    ledger.wait(again)
    return None


def _admit(ledger: Ledger, calls: tuple[Slot, ...], tokens: tuple[Slot, ...], cost: int, now: float) -> Reservation:
    for slot in calls:
        slot.window.add(1)
    steps = [ledger.use(slot.window, 1, False, now) for slot in calls]
    for slot in tokens:
        slot.window.hold(cost)
        ledger.use(slot.window, cost, True, now)

    few, scarce = _scarcest(ledger, calls, now)
    little, tight = _scarcest(ledger, tokens, now)
    head = render_shared(scarce, few, tight, little)
    return Reservation(calls, tokens, cost, int(now), head).leased(ledger, steps)


def _scarcest(ledger: Ledger, slots: tuple[Slot, ...], now: float) -> tuple[int, Slot | None]:
    least, found = UNBOUNDED, None
    for slot in slots:
        left = ledger.remaining(slot.window, slot.most, now)
        if left < least:
            least, found = left, slot
    return least, found


def _lack(ledger: Ledger, slot: Slot, amount: int, now: float) -> Lack:
    if slot.most <= 0:
        return Lack(slot, amount, 0, slot.window.span)
    if ledger.standing is Standing.TOGETHER:
        return Lack(slot, amount, ledger.remaining(slot.window, slot.most, now), ledger.retry_in(slot.window, now))
    room = ledger.free(slot.window, slot.most, slot.share, now)
    wait = slot.window.wait(amount, slot.share, now)
    return Lack(slot, amount, room, wait or ledger.fresh_in(slot.window, now))
