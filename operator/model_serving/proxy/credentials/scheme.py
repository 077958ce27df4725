"""What a scheme of authentication is, and the two simple ones: a bearer token, and a header of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from model_serving.proxy.credentials.credential import Credential
from model_serving.proxy.credentials.exchange import Exchange
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.http.pool import Step
from model_serving.proxy_config import CredentialFile, CredentialReport, TokenReport


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """The request that is to be authenticated: what signatures cover. All requests are POST with JSON."""

    host: str
    path: str
    """With its query, encoded as it is sent."""
    body: bytes
    wall: float
    """Seconds since the epoch."""


class Source(Protocol):
    """Where a scheme's value comes from: files, or a token that is fetched anew before it expires."""

    @property
    def value(self) -> Any:
        """What requests are shown with now; falsy while there is none."""

    @property
    def fault(self) -> str:
        """Why there is none, in words for callers."""

    @property
    def ready(self) -> bool:
        """Whether calls may come: there is a value, or was and will be again."""

    @property
    def pending(self) -> bool:
        """Whether a value is being fetched."""

    def wait(self, done: Callable[[], None]) -> Step:
        """Calls `done`, later, when what is pending has ended, well or not. Only while something is."""

    def refresh(self, now: float, wall: float) -> None:
        """Called each second, and after a provider has refused the value: looks whether another one is due."""

    def other_than(self, used: Any, now: float) -> Any:
        """A value that may cure the refusal that `used` got; falsy without: then one may be pending."""

    def known_values(self) -> Iterable[str]:
        """All secrets that must not leave this process, former ones included."""

    def reports(self) -> list[CredentialReport]:
        """How its files stand, without their values."""

    def tokens(self) -> list[TokenReport]:
        """How the tokens stand that it fetches."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What sources are made with."""

    credential: Callable[[CredentialFile], Credential]
    """The one that follows a file."""
    exchange: Exchange
    platform: Platform
    lot: Callable[[], float] = random.random
    """From 0 to 1: spreads what would else happen everywhere at once."""


class Scheme(Protocol):
    """How the requests to a target show who calls. Frozen and hashable: equal schemes share one source."""

    @property
    def files(self) -> tuple[CredentialFile, ...]:
        """The secrets that it needs."""

    @property
    def refusals(self) -> frozenset[int]:
        """Statuses of answers that another value of the credential may cure."""

    def source(self, opening: Opening) -> Source:
        """A new source of its value."""

    def headers(self, value: Any, request: Outgoing) -> bytes:
        """Rendered header lines that show `value`."""


ONLY_401 = frozenset((401,))


class ShownAsBearer:
    """`Authorization: Bearer VALUE`: how most schemes show theirs, whether it was stored or fetched."""

    __slots__ = ()
    refusals = ONLY_401

    def headers(self, value: str, request: Outgoing) -> bytes:
        """The header line."""
        return b"authorization: Bearer %b\r\n" % value.encode("latin-1")


@dataclass(frozen=True, slots=True)
class OfOneFile:
    """A scheme that needs one secret, and shows it as it is stored unless it says otherwise."""

    file: CredentialFile

    @property
    def files(self) -> tuple[CredentialFile, ...]:
        """The one."""
        return (self.file,)

    def source(self, opening: Opening) -> Source:
        """The file itself."""
        return opening.credential(self.file)


@dataclass(frozen=True, slots=True)
class Bearer(OfOneFile, ShownAsBearer):
    """A secret as a bearer token."""


@dataclass(frozen=True, slots=True)
class HeaderKey(OfOneFile):
    """`HEADER: SECRET`."""

    header: str

    refusals = ONLY_401

    def headers(self, value: str, request: Outgoing) -> bytes:
        """The header line."""
        return b"%b: %b\r\n" % (self.header.encode("latin-1"), value.encode("latin-1"))
