"""Tokens that are fetched with a secret or an identity and renewed before they expire. One source per grant.

A scheme says what to ask and how to read the answer (`TokenGrant`); the source knows when: at the start, when four
fifths of a token's life are over, when a secret has been replaced, and when a provider has refused the token. One fetch
is under way at a time, however many calls wait for it; when it fails the former token serves until it expires, and the
next attempt comes after a pause that doubles.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from msgspec import structs

from model_serving.proxy.credentials.credential import moment
from model_serving.proxy.credentials.exchange import TokenAnswer, TokenRequest
from model_serving.proxy.credentials.scheme import Opening
from model_serving.proxy.credentials.secrecy import redacted
from model_serving.proxy_config import CredentialReport, TokenReport

log = logging.getLogger(__name__)

RENEW_FROM, RENEW_TO = 0.8, 0.9
"""The part of a token's life after which it is renewed; where in between is left to chance."""
EARLY_SECONDS = 5.0
"""A token is not shown in its last moments: it must last until the provider looks at it."""
MOST_EARLY = 0.1
"""Of a token's life."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
REFUSED_PAUSE_SECONDS = 10.0
"""The least time between two fetches that refusals by the provider cause."""
LONGEST_LIFE_SECONDS = 7 * 86400.0
"""However long a service says that its token lasts."""
LONGEST_WORDS = 400
MOST_STEPS = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a grant came to."""

    value: Any = field(repr=False)
    """What requests are shown with; truthy."""
    expires_at: float
    """Seconds since the epoch."""
    secrets: tuple[str, ...] = field(repr=False)
    """What of it must not leave this process."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a token service."""

    request: TokenRequest
    read: Callable[[TokenAnswer], Fetched | Ask]
    """The token, or the next question. ValueError tells, with a remedy and without secrets, why there is neither."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What of this request must not leave this process, such as an assertion."""


class TokenGrant(Protocol):
    """On what ground tokens are given, and how they are asked for."""

    @property
    def name(self) -> str:
        """Which token this is, in words: `Entra ID token of client X`. Without secrets."""

    def stamp(self) -> Hashable:
        """What it rests on, such as the secrets' values: another one means that a token is due at once."""

    def ask(self, wall: float) -> Ask:
        """The first question, at `wall` seconds since the epoch, from which lifetimes count.

        ValueError tells, with a remedy and without secrets, what is missing for it.
        """

    def secrets(self) -> Iterable[str]:
        """The secrets that it rests on, former ones included."""

    def reports(self) -> list[CredentialReport]:
        """How its files stand."""


class TokenSource:
    """A `scheme.Source`: the current token of one grant."""

    def __init__(self, opening: Opening, grant: TokenGrant) -> None:
        self.value: Any = None
        self.pending = False
        self._exchange = opening.exchange
        self._lot = opening.lot
        self._grant = grant
        self._now = self._wall = 0.0
        self._stamp: Hashable = object()
        self._fetched: Fetched | None = None
        self._fetched_at = self._expires_at = 0.0
        self._former: tuple[str, ...] = ()
        self._ends_at = 0.0
        self._renew_at = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._fetches = self._failed_fetches = 0
        self._forced_at = float("-inf")
        self._problem = ""
        self._waiting: dict[_Waiter, Callable[[], None]] = {}

    @property
    def fault(self) -> str:
        """Why there is no token, or no better one."""
        waits = "the provider refuses it" if self.value else "it is being fetched"
        return f"{self._grant.name}: {self._problem or waits}"

    @property
    def ready(self) -> bool:
        """From the first token on: an outage of the token service must not take away what serves other targets."""
        return self._fetched is not None

    def wait(self, done: Callable[[], None]) -> _Waiter:
        """Calls `done` when the fetch under way has ended."""
        assert self.pending
        waiter = _Waiter(self._waiting)
        self._waiting[waiter] = done
        return waiter

    def refresh(self, now: float, wall: float) -> None:
        """Drops a token that has expired, and fetches one when that is due."""
        self._now, self._wall = now, wall
        if self.value and wall >= self._ends_at:
            self.value = None
        if self.pending:
            return
        replaced = self._grant.stamp() != self._stamp
        due = wall >= self._renew_at and now >= self._retry_at
        if replaced:
            self._failures = 0
        if replaced or due:
            self._fetch()

    def other_than(self, used: Any, now: float) -> Any:
        """The token that has come since `used` did. Without one it is fetched, but not in each second again."""
        if self.value and self.value != used:
            return self.value
        paused = now < self._forced_at + REFUSED_PAUSE_SECONDS or (self._failures and now < self._retry_at)
        if not self.pending and not paused:
            self._forced_at = now
            self._fetch()
        return None

    def known_values(self) -> Iterable[str]:
        """The token, the former one, and what they are fetched with."""
        current = self._fetched.secrets if self._fetched is not None else ()
        return [*current, *self._former, *self._grant.secrets()]

    def reports(self) -> list[CredentialReport]:
        """The grant's files."""
        return self._grant.reports()

    def tokens(self) -> list[TokenReport]:
        """The one."""
        fetched, expires = moment(self._fetched_at), moment(self._expires_at)
        return [TokenReport(self._grant.name, fetched, expires, self._problem, self._fetches, self._failed_fetches)]

    # Fetching

    def _fetch(self) -> None:
        self._stamp = self._grant.stamp()
        self._fetches += 1
        self.pending = True
        asked_at = self._wall
        try:
            ask = self._grant.ask(asked_at)
        except Exception as error:
            self._failed(self._words(error), ())
            self._settle()
            return
        self._send(ask, asked_at, MOST_STEPS)

    def _send(self, ask: Ask, asked_at: float, steps: int) -> None:
        self._exchange(ask.request, partial(self._answered, ask, asked_at, steps - 1))

    def _answered(self, ask: Ask, asked_at: float, steps: int, answer: TokenAnswer) -> None:
        if answer.status != 200:  # grants tell the first of its words: half a secret would not be found in them
            secrets = [*ask.secrets, *self.known_values()]
            answer = structs.replace(answer, body=redacted(answer.body, secrets))
        try:
            found = ask.read(answer)
        except Exception as error:
            self._failed(self._words(error), ask.secrets)
        else:
            if isinstance(found, Ask) and steps:
                self._send(found, asked_at, steps)
                return
            self._take(found, asked_at)
        self._settle()

    def _words(self, error: Exception) -> str:
        if isinstance(error, ValueError):
            return str(error)
        log.error("%s: a fault in this program: %s", self._grant.name, type(error).__name__)  # its text may be secret
        return "a fault in this program, see the proxy's log"

    def _take(self, found: Fetched | Ask, asked_at: float) -> None:
        if isinstance(found, Ask):
            self._failed(f"{MOST_STEPS} requests did not lead to a token", ())
            return
        life = min(found.expires_at - asked_at, LONGEST_LIFE_SECONDS)
        expires_at = asked_at + life
        if expires_at <= self._wall:
            self._failed(
                f"{self._grant.name}: the token that came has expired already; is this node's clock right?", ()
            )
            return
        if self._fetched is not None and self._fetched.value != found.value:
            self._former = self._fetched.secrets
        if self._problem:
            log.info("%s: it could be fetched again", self._grant.name)
        self.value, self._fetched, self._fetched_at, self._expires_at = found.value, found, asked_at, expires_at
        self._ends_at = expires_at - min(EARLY_SECONDS, life * MOST_EARLY)
        self._renew_at = asked_at + life * (RENEW_FROM + (RENEW_TO - RENEW_FROM) * self._lot())
        self._retry_at = self._now + FIRST_PAUSE_SECONDS  # however short its life
        self._failures, self._problem = 0, ""

    def _failed(self, words: str, secrets: Iterable[str]) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
        self._failures += 1
        self._failed_fetches += 1
        self._renew_at = min(self._renew_at, self._wall)
        self._retry_at = self._now + pause * (0.75 + 0.5 * self._lot())
        problem = scrubbed(words, [*secrets, *self.known_values()])
        if problem != self._problem:
            log.warning("%s: %s", self._grant.name, problem)
        self._problem = problem

    def _settle(self) -> None:
        self.pending = False
        waiting, self._waiting = self._waiting, {}
        for waiter in list(waiting):
            if done := waiting.pop(waiter, None):  # one may cancel another
                done()


class _Waiter:
    """A place among those who wait for a token."""

    __slots__ = ("_waiting",)

    def __init__(self, waiting: dict[_Waiter, Callable[[], None]]) -> None:
        self._waiting = waiting

    def cancel(self) -> None:
        """Waits no longer."""
        self._waiting.pop(self, None)


def scrubbed(words: str, secrets: Iterable[str]) -> str:
    """Words of a token service on one line of bounded length, without secrets."""
    words = redacted(words.encode(), secrets).decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in words).split())[:LONGEST_WORDS]
