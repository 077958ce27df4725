"""What a call has been admitted for, and the header lines that tell it. Pure; made by the limiter, kept by the call."""

from __future__ import annotations

from collections.abc import Sequence

from model_serving.proxy.limits.ledger import Ledger
from model_serving.proxy.limits.plan import Slot, duration

_LINES = b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n"
_CALLS = _LINES % ((b"requests",) * 3)
_TOKENS = _LINES % ((b"tokens",) * 3)
_BOTH = _CALLS + _TOKENS
_RESETS = tuple(duration(seconds) for seconds in range(130))


def render(calls: Slot | None, calls_left: int, tokens: Slot | None, tokens_left: int) -> bytes:
    """The header lines, of the scarcest limit in either measure, as this proxy counts it."""
    if calls is None:
        return _TOKENS % (tokens.share, tokens_left, _reset(tokens)) if tokens is not None else b""
    if tokens is None:
        return _CALLS % (calls.share, calls_left, _reset(calls))
    return _BOTH % (calls.share, calls_left, _reset(calls), tokens.share, tokens_left, _reset(tokens))


def _reset(slot: Slot) -> bytes:
    """When the oldest of what counts stops counting."""
    window = slot.window
    return _RESETS[window.steps[0][0] + window.span + 1 - window.second]


def render_shared(calls: Slot | None, calls_left: int, tokens: Slot | None, tokens_left: int) -> bytes:
    """The same with the limits as the common store counts them."""
    head = b""
    if calls is not None:
        head = _CALLS % (calls.most, max(calls_left, 0), _reset(calls))
    if tokens is not None:
        head += _TOKENS % (tokens.most, max(tokens_left, 0), _reset(tokens))
    return head


class Reservation:
    """Settled exactly once, when the call has ended; settling again does nothing."""

    __slots__ = ("_calls", "_cost", "_ledger", "_second", "_steps", "_tokens", "head")

    def __init__(self, calls: Sequence[Slot], tokens: Sequence[Slot], cost: int, second: int, head: bytes) -> None:
        self._calls = calls
        self._tokens = tokens
        self._cost = cost
        self._second = second
        self._ledger: Ledger | None = None
        self.head = head
        """Header lines for the answer."""

    def leased(self, ledger: Ledger, steps: Sequence[int]) -> Reservation:
        """The same, of a call that the common store counts, each limit of calls in one of its steps."""
        self._ledger, self._steps = ledger, steps
        return self

    def settle(self, tokens: int | None, now: float, sent: bool = True) -> None:
        """The call has ended and used `tokens`; None when nobody knows: then the estimate stands.

        Not `sent`: the provider never got the call, which therefore does not count at all.
        """
        held = self._tokens
        if held:
            self._tokens = ()
            cost = self._cost
            used = 0 if not sent else cost if tokens is None else tokens
            second = int(now)
            for slot in held:
                slot.window.settle(cost, used, second)
                if self._ledger is not None:
                    self._ledger.settled(slot.window, cost, used)
        if not sent:
            self._take_back()

    def _take_back(self) -> None:
        calls, self._calls = self._calls, ()
        for slot in calls:
            slot.window.take_back(self._second, 1)
        if self._ledger is not None:
            for slot, step in zip(calls, self._steps, strict=False):
                self._ledger.unused(slot.window, 1, step)
