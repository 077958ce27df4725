"""A caller's limits, tied to their windows: what is walked through for each call, and the answer when one lacks room.

Pure; made by `limiter.py` once per caller and policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from model_serving.proxy.errors import LimitExceeded
from model_serving.proxy.limits.rules import CALLS, Term, Terms
from model_serving.proxy.limits.window import Window

UNBOUNDED = 1 << 62


class Slot:
    """One limit of one caller. `share` is what this proxy may grant of `most` by itself."""

    __slots__ = ("most", "share", "term", "window")

    def __init__(self, window: Window, term: Term, parts: int) -> None:
        self.window = window
        self.term = term
        self.most = term.amount
        self.share = term.amount // parts


class Plan:
    """All limits of one caller: every slot of `calls` and `tokens` counts, and of each `either` one."""

    __slots__ = ("calls", "either", "either_calls", "either_tokens", "most_tokens", "share_tokens", "tokens")

    def __init__(self, calls: Terms, tokens: Terms, slot: Callable[[Term], Slot]) -> None:
        self.calls = tuple(map(slot, calls.always))
        self.either_calls = tuple(map(slot, calls.either))
        self.tokens = tuple(map(slot, tokens.always))
        self.either_tokens = tuple(map(slot, tokens.either))
        self.either = bool(self.either_calls or self.either_tokens)
        bounds = [*self.tokens, *self.either_tokens]
        self.most_tokens = min((s.most for s in bounds), default=0)
        """No single call reserves more: it would never be admitted."""
        self.share_tokens = min((s.share for s in bounds), default=0)

    def choose(self, room: Callable[[Slot], int]) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
        """The slots that a call counts in; of several groups the one with the most room."""
        calls = (*self.calls, max(self.either_calls, key=room)) if self.either_calls else self.calls
        tokens = (*self.tokens, max(self.either_tokens, key=room)) if self.either_tokens else self.tokens
        return calls, tokens


class Lack(NamedTuple):
    """A slot that has no room for `amount`, what room it has, and the seconds until it may have more."""

    slot: Slot
    amount: int
    room: int
    wait: float


def scarcest(slots: Sequence[Slot], second: int) -> tuple[int, Slot | None]:
    """The least room among windows of this proxy, and where."""
    least, found = UNBOUNDED, None
    for slot in slots:
        window = slot.window
        if window.second < second:
            window.advance(second)
        room = slot.share - window.total
        if room < least:
            least, found = room, slot
    return least, found


def refusal(lacking: Sequence[Lack], parts: int) -> LimitExceeded:
    """The answer to a call that some limits refuse: names the one with the longest wait.

    `parts`: how many proxies share the limits apart; 1 when one count holds for all.
    """
    slot, amount, room, wait = max(lacking, key=lambda lack: lack.wait)
    calls = slot.term.counter.startswith(CALLS)
    verb, what = ("make", "calls") if calls else ("use", "tokens")
    seconds = max(1, math.ceil(wait))
    if slot.most <= 0:
        told = f"{slot.term.whom} may {verb} no {what}: the limit is 0 per minute"
    else:
        each = f", {slot.share} of them through each of {parts} proxies" if parts > 1 else ""
        rest = "the next one" if calls else f"room for the {amount} of this call"
        told = f"{slot.term.whom} may {verb} {slot.most} {what} per minute{each}: {rest} in {seconds} s"
    error = LimitExceeded(told, slot.term.key, seconds)
    name = b"requests" if calls else b"tokens"
    error.lines = [
        (b"x-ratelimit-limit-" + name, b"%d" % (slot.most if parts <= 1 else slot.share)),
        (b"x-ratelimit-remaining-" + name, b"%d" % max(room, 0)),
        (b"x-ratelimit-reset-" + name, duration(seconds)),
    ]
    return error


def duration(seconds: int) -> bytes:
    """Seconds as OpenAI writes them: `1s`, `6m0s`."""
    minutes, rest = divmod(seconds, 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest
