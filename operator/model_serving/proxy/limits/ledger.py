"""What this proxy knows of the common store: leases that it may use up, what it has to report, how far it may go alone.

Pure: `proxy/limits_store.py` carries requests to the store and answers back; `limiter.py` asks here. `script.py` has
the store's side.

A *lease* is a number of calls (or tokens) that the store has counted already and that this proxy may admit for a
moment without asking. The store counts it at the last moment at which it may be used. What was not used is given back.

Without the store a proxy is *apart*: it grants its share of a limit. In the first minute it grants no more than its
part of half of what was free when it last heard of the counter, for the others may have used the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from model_serving.proxy.limits.window import WINDOW_SECONDS, Window

LEASE_SECONDS = 0.5
QUIET_SECONDS = 1.0
"""Before an emptied store grants again nobody grants anything, so that everything granted apart is reported."""
REUNION_SECONDS = 2.0
"""How long a proxy goes on with its share when it meets the store again: others may not have met it yet, and what they
grant meanwhile is not reported. Longer than the longest pause between two attempts, with an attempt's own time."""
REFUSED_SECONDS = 0.1
"""How long a counter without room is not asked for again: others may give back what they did not use."""
BEAT_SECONDS = 0.25
"""How often counters that proxies share are looked at while they are used."""
UNKNOWN = -1
"""The step of what the store was not asked for."""
MOST_COUNTERS = 256
"""In one request; the others follow in the next."""


class Standing(Enum):
    """How this proxy stands with the store."""

    ASKING = "asking"
    """Being connected: calls wait."""
    TOGETHER = "together"
    """The store counts."""
    APART = "apart"
    """This proxy grants its share."""


class Account:
    """One counter as this proxy sees it."""

    __slots__ = (
        "alone", "before", "charge", "denied_until", "grants", "held", "held_new", "known", "known_at", "least", "most",
        "name", "need", "owed", "retry_at", "returns", "second", "size", "used", "window",
    )  # fmt: skip

    def __init__(self, window: Window) -> None:
        self.window = window
        self.name = window.name
        self.most = 0
        self.grants: list[list[float]] = []
        """Leases: [valid until, step in the store, what is left]."""
        self.need = 0
        """What waiting calls ask for."""
        self.least = 0
        """The least that lets one of them go."""
        self.second = self.used = self.before = 0
        """Used in a second and in the one before: tells how much to ask for in advance."""
        self.size = 1
        """Of the last call: less in advance would help none."""
        self.charge = 0
        """Used without a lease: to be counted by the store."""
        self.returns: dict[int, int] = {}
        """To be given back, by the store's step."""
        self.held: dict[int, int] = {}
        """Reserved for calls under way, by the step that the store counts it in."""
        self.held_new = 0
        """The same while it is part of `charge`."""
        self.owed = 0
        """Holds that ended while the request that tells of them was on its way."""
        self.known = -1
        """All proxies' total as the store told it; -1 while it is not known."""
        self.known_at = 0.0
        self.alone = 0
        """Granted apart and not in `known`."""
        self.denied_until = self.retry_at = 0.0

    def available(self, now: float) -> int:
        """What valid leases hold."""
        grants = self.grants
        if not grants:
            return 0
        if grants[0][0] < now:
            self.expire(now)
            grants = self.grants
        return int(grants[0][2]) if len(grants) == 1 else int(sum([grant[2] for grant in grants]))

    def expire(self, now: float) -> bool:
        """Puts what is left of old leases aside, to be given back; whether there was any."""
        old = [grant for grant in self.grants if grant[0] < now]
        self.grants = [grant for grant in self.grants if grant[0] >= now]
        for _, step, left in old:
            self.give_back(int(step), int(left))
        return bool(old)

    def give_back(self, step: int, amount: int) -> None:
        """The store shall not count this any more."""
        if amount > 0:
            self.returns[step] = self.returns.get(step, 0) + amount

    def tally(self, amount: int, now: float) -> None:
        """Takes note of the pace."""
        second = int(now)
        if second != self.second:
            self.before = self.used if second == self.second + 1 else 0
            self.second, self.used = second, 0
        self.used += amount
        self.size = amount

    def ahead(self, lease: float, now: float) -> int:
        """How much will be used while a lease lasts, at the present pace."""
        pace = max(self.before, self.used) if now < self.second + 2 else 0
        return min(int(pace * lease), self.most // 4)

    def runs_out(self, lease: float, now: float) -> bool:
        """Whether it is time to ask for more, before calls have to wait for it."""
        return self.denied_until <= now and self.available(now) < self.ahead(lease, now) // 2

    def use(self, amount: int, hold: bool) -> int:
        """Takes from the leases, the oldest first; the store's step of the last one."""
        step = UNKNOWN
        for grant in self.grants:
            part = int(min(amount, grant[2]))
            if not part:
                continue
            step = int(grant[1])
            grant[2] -= part
            amount -= part
            if hold:
                self.held[step] = self.held.get(step, 0) + part
            if not amount:
                break
        return step

    def settle(self, held: int, used: int) -> None:
        """Gives back a hold and charges the real use."""
        self.charge += used
        for step in sorted(self.held):
            part = min(held, self.held[step])
            self.held[step] -= part
            if not self.held[step]:
                del self.held[step]
            self.give_back(step, part)
            held -= part
            if not held:
                return
        part = min(held, self.held_new)
        self.held_new -= part
        self.charge -= part
        self.owed += held - part

    def told(self, held: int, step: int | None) -> None:
        """`held` is counted by the store in `step` now; None: it is not, and has to be told again."""
        if step is None:
            self.held_new += held
        elif held:
            self.held[step] = self.held.get(step, 0) + held
        owed, self.owed = self.owed, 0
        if owed:
            self.settle(owed, 0)
            self.owed = 0

    def seed(self) -> None:
        """Everything that this proxy counts is to be counted by a store that knows nothing."""
        self.charge, self.held_new = self.window.total, self.window.held
        self.held, self.returns, self.grants, self.owed = {}, {}, [], 0

    @property
    def shared(self) -> bool:
        """Whether several proxies usually count here at once."""
        return not self.name.startswith(("calls:user:", "tokens:user:"))


class Ledger:
    """The accounts of one proxy, and how it stands with the store."""

    def __init__(self, wake: Callable[[], None], *, span: int = WINDOW_SECONDS, lease: float = LEASE_SECONDS) -> None:
        self.standing = Standing.ASKING
        self.problem = "not connected yet"
        """Why limits do not hold exactly; empty while they do."""
        self.parts = 1
        self.losses = 0
        self.span = span
        self.lease = lease
        self.epoch = b""
        self._wake = wake
        self._accounts: dict[str, Account] = {}
        self._dirty: dict[str, Account] = {}
        self._asked: list[tuple[Account, int, int]] = []
        self._waiting: list[Callable[[], None]] = []
        self._server = (-1.0, 0.0)
        self._beat_at = 0.0
        self._met_at: float | None = None
        """When the store was met again; None: it is not met, or this proxy was never apart from it."""

    # What the limiter asks

    def account(self, window: Window, most: int) -> Account:
        """The account of a window, made at first use."""
        account: Account | None = window.account
        if account is None:
            account = self._accounts.get(window.name)
            if account is None:
                account = self._accounts[window.name] = Account(window)
            account.window, window.account = window, account
        account.most = most
        return account

    def free(self, window: Window, most: int, share: int, now: float) -> int:
        """How much may be admitted right now without asking anybody."""
        account = self.account(window, most)
        if self.standing is Standing.TOGETHER:
            return account.available(now)
        room = share - window.total
        if self.parts > 1 and account.known >= 0 and now < account.known_at + self.span + 1:
            left = (most - account.known) // self.parts
            room = min(room, max(left // 2, min(left, 1)) - account.alone)
        return room

    def denied(self, window: Window, now: float) -> bool:
        """Whether the store has just said that there is no room."""
        return bool(window.account.denied_until > now)

    def retry_in(self, window: Window, now: float) -> float:
        """Seconds until there may be room, by what the store said."""
        return float(max(window.account.retry_at - now, 0.1))

    def demand(self, window: Window, amount: int) -> None:
        """A waiting call needs this much."""
        account: Account = window.account
        account.need += amount
        account.least = min(account.least or amount, amount)
        self._dirty[account.name] = account

    def wait(self, again: Callable[[], None]) -> None:
        """Calls back when more is known."""
        self._waiting.append(again)
        if self._dirty:
            self._wake()

    def use(self, window: Window, amount: int, hold: bool, now: float) -> int:
        """A call was admitted; the store's step that it counts in."""
        account: Account = window.account
        self._dirty[account.name] = account
        account.tally(amount, now)
        if self.standing is Standing.TOGETHER:
            step = account.use(amount, hold)
            left = account.grants[-1][2] * 4
            if (left < account.used or left < account.before) and account.runs_out(self.lease, now):
                self._wake()
            return step
        account.alone += amount
        account.charge += amount
        if hold:
            account.held_new += amount
        return UNKNOWN

    def settled(self, window: Window, held: int, used: int) -> None:
        """A call that had tokens reserved has ended."""
        account: Account | None = window.account
        if account is not None:
            account.settle(held, used)
            self._dirty[account.name] = account

    def unused(self, window: Window, amount: int, step: int) -> None:
        """An admitted call was never sent: the store shall not count it, if it is known where it does."""
        account: Account | None = window.account
        if account is None:
            return
        self._dirty[account.name] = account
        if step != UNKNOWN:
            account.give_back(step, amount)
        else:
            account.charge = max(account.charge - amount, 0)

    def fresh_in(self, window: Window, now: float) -> float:
        """Seconds until this proxy, apart, need not heed any more what the store told last."""
        account: Account = window.account
        return max(account.known_at + self.span + 1 - now, 1.0)

    def remaining(self, window: Window, most: int, now: float) -> int:
        """What remains for everybody, as far as known here."""
        account: Account = window.account
        if account.known < 0:
            return max(most - window.total, 0)
        return max(most - account.known + account.available(now), 0)

    def sweep(self, now: float) -> None:
        """Forgets counters that nothing is known of any more."""
        for name, account in list(self._accounts.items()):
            quiet = not (account.window.total or account.window.held or account.charge or account.need)
            if quiet and not account.grants and not account.returns and now > account.known_at + self.span + 2:
                del self._accounts[name]
                self._dirty.pop(name, None)

    # What the link carries

    def request(self, now: float) -> tuple[list[str], list[int]]:
        """Names of counters, and seven numbers and more for each: what to tell and to ask the store."""
        self._look_after(now)
        self._asked = []
        names: list[str] = []
        numbers: list[int] = []
        chosen = list(self._dirty.values())[:MOST_COUNTERS]
        for account in chosen:
            del self._dirty[account.name]
            account.window.advance(int(now))
            account.charge = min(account.charge, account.window.total)  # what is older than a minute is past
            returns, account.returns = account.returns, {}
            want = max(account.ahead(self.lease, now) - account.available(now), 0)
            least = account.least or account.size
            self._asked.append((account, account.charge, account.held_new))
            names.append(account.name)
            numbers += [account.most, account.charge, account.need, least, want, len(returns)]
            for step, amount in returns.items():
                numbers += [step, amount]
            account.charge = account.held_new = 0
            account.need = account.least = 0
        return names, numbers

    def latest(self, now: float) -> int:
        """The store's clock cannot be later than this, in its milliseconds; -1: never heard of."""
        then, sent_at = self._server
        return int(then + (now - sent_at) * 1000) if then >= 0 else -1

    def answered(self, reply: Sequence[bytes | int], sent_at: float, now: float) -> None:
        """The store's answer to the last request, which was sent at `sent_at`."""
        epoch, opens_in, server, step = bytes(reply[0]), int(reply[1]), int(reply[2]), int(reply[3])
        self._server = (server, sent_at)
        asked, self._asked = self._asked, []
        if epoch != self.epoch:
            known, self.epoch = self.epoch, epoch
            if known or any(account.window.total for account in self._accounts.values()):
                self._start_anew(int(now))
                asked = []
        numbers = [int(n) for n in reply[4:]]
        for place, (account, _, held) in enumerate(asked):
            granted, at, total, wait = numbers[4 * place : 4 * place + 4]
            # A store that was emptied hears of what it has forgotten one proxy at a time: what was known holds.
            account.known, account.known_at = max(total, account.known) if opens_in > 0 else total, now
            account.alone = account.charge
            account.told(held, step)
            if granted > 0:
                account.grants.append([sent_at + self.lease, at, granted])
            account.denied_until = now + REFUSED_SECONDS if wait > 0 else 0.0
            account.retry_at = now + wait / 1000
        self._settle_standing(opens_in / 1000, now)
        self._call_back()

    def failed(self) -> None:
        """The last request was not answered, and may have been carried out all the same: what is to be counted is told
        again, what is to be given back is not."""
        for account, charge, held in self._asked:
            account.charge += charge
            account.told(held, None)
            self._dirty[account.name] = account
        self._asked = []
        if self.standing is Standing.TOGETHER:
            self.standing = Standing.ASKING

    def parted(self, problem: str, now: float) -> None:
        """The store is gone: this proxy grants its share until it is back."""
        if self.standing is not Standing.APART:
            self.losses += 1
            for account in self._accounts.values():
                account.grants, account.alone = [], 0
        self.standing, self.problem, self._met_at = Standing.APART, problem, None
        self._call_back()

    @property
    def used(self) -> bool:
        """Whether the store has to be kept up to date."""
        if self._dirty or self._waiting or self.standing is not Standing.TOGETHER:
            return True
        return any(account.window.total for account in self._accounts.values())

    @property
    def waits_gladly(self) -> bool:
        """Whether calls may wait for another attempt: they do after the first failure, not while apart."""
        return self.standing is not Standing.APART

    def _settle_standing(self, opens_in: float, now: float) -> None:
        if self.standing is Standing.APART and self._met_at is None:
            self._met_at = now
        if self._met_at is not None and now < self._met_at + REUNION_SECONDS and opens_in <= 0:
            self.problem = "the store has just come back: other proxies may not have heard of it yet"
        elif opens_in <= 0:
            self.standing, self.problem = Standing.TOGETHER, ""
        elif opens_in > QUIET_SECONDS:
            self.standing = Standing.APART
            self.problem = "the store was empty: it counts for a minute before it grants"
        else:
            self.standing = Standing.ASKING

    def _start_anew(self, second: int) -> None:
        for account in self._accounts.values():
            account.window.advance(second)
            account.seed()
            self._dirty[account.name] = account

    def _look_after(self, now: float) -> None:
        """Leases that have ended, holds that the store would soon forget, and shared counters' totals."""
        if now < self._beat_at:
            return
        self._beat_at = now + BEAT_SECONDS
        oldest = int(self._server[0] / 1000 + now - self._server[1]) - self.span // 3
        for account in self._accounts.values():
            ended = account.grants and account.expire(now)
            renewed = account.held and self._renew(account, oldest)
            if ended or renewed or account.shared:
                self._dirty[account.name] = account

    def _renew(self, account: Account, oldest: int) -> bool:
        stale = [step for step in account.held if step < oldest]
        for step in stale:
            amount = account.held.pop(step)
            account.give_back(step, amount)
            account.charge += amount
            account.held_new += amount
        return bool(stale)

    def _call_back(self) -> None:
        waiting, self._waiting = self._waiting, []
        for account in self._dirty.values():
            account.need = account.least = 0  # who waits asks again
        for again in waiting:
            again()
