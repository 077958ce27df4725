"""A token service inside the test: grants that count, and an exchange that answers when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from model_serving.proxy.credentials.credential import Credential
from model_serving.proxy.credentials.exchange import TokenAnswer, TokenRequest
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.credentials.scheme import Opening
from model_serving.proxy.credentials.token import Ask, Fetched, TokenSource
from model_serving.proxy_config import CredentialFile, CredentialReport

SECRET = "client-secret-canary"
WALL = 1_700_000_000.0
"""When the tests begin, in seconds since the epoch; their other clock begins at 0."""


class Question(NamedTuple):
    """A request that waits for its answer."""

    request: TokenRequest
    done: Callable[[TokenAnswer], None]


@dataclass
class Line:
    """An `Exchange`: keeps requests until the test answers them."""

    open: list[Question] = field(default_factory=list)
    asked: int = 0

    def __call__(self, request: TokenRequest, done: Callable[[TokenAnswer], None]) -> None:
        self.asked += 1
        self.open.append(Question(request, done))

    def answer(self, body: bytes = b"", failure: str = "") -> None:
        """Answers the oldest request."""
        self.open.pop(0).done(TokenAnswer(200 if body else 0, body, failure))

    def refuse(self, body: bytes) -> None:
        """Answers the oldest request with an error."""
        self.open.pop(0).done(TokenAnswer(401, body))


@dataclass
class CountingGrant:
    """A `TokenGrant`: tokens of `life` seconds whose text is the answer's body."""

    life: float = 3600.0
    secret: str = SECRET
    steps: int = 1
    name: str = "Test token"

    def stamp(self) -> Hashable:
        return self.secret

    def ask(self, wall: float) -> Ask:
        if not self.secret:
            raise ValueError("the key k of Secret s is missing")
        return self._ask(wall, self.steps)

    def secrets(self) -> Iterable[str]:
        return (self.secret,)

    def reports(self) -> list[CredentialReport]:
        return []

    def _ask(self, wall: float, steps: int) -> Ask:
        request = TokenRequest("POST", "https://tokens.example/", body=b"step %d" % (self.steps - steps + 1))
        return Ask(request, partial(self._read, wall, steps), ("assertion-canary",))

    def _read(self, wall: float, steps: int, answer: TokenAnswer) -> Fetched | Ask:
        if answer.failure == "bug":
            raise KeyError(self.secret)
        if answer.failure:
            raise ValueError(answer.failure)
        if answer.status != 200:
            raise ValueError(answer.body[:20].decode())
        if steps > 1:
            return self._ask(wall, steps - 1)
        value = answer.body.decode()
        return Fetched(value, wall + self.life, (value,))


@dataclass
class Stage:
    """A source with its grant and its line, and clocks that the test moves."""

    grant: CountingGrant = field(default_factory=CountingGrant)
    line: Line = field(default_factory=Line)
    lot: float = 0.5
    now: float = 0.0

    def __post_init__(self) -> None:
        self.source = TokenSource(Opening(no_file, self.line, Platform(), lambda: self.lot), self.grant)

    def at(self, seconds: float, *, jump: float = 0.0) -> None:
        """Lets it look at the clock `seconds` after the beginning; `jump` moves the wall clock alone."""
        self.now = seconds
        self.source.refresh(seconds, WALL + seconds + jump)

    def begin(self, first: str = "token-1") -> None:
        """The first token comes."""
        self.at(0.0)
        self.line.answer(first.encode())

    @property
    def problem(self) -> str:
        return self.source.tokens()[0].problem


def no_file(file: CredentialFile) -> Credential:
    """For grants without files."""
    raise AssertionError(f"no file {file} is expected")
