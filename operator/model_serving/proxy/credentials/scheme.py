"""What a scheme of authentication is, and the two simple ones: a bearer token, and a header of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Scheme(Protocol):
    """How a request shows its credential to the provider."""

    @property
    def credential(self) -> str:
        """The name of the credential in `Target.credentials`."""

    def headers(self, secret: str) -> bytes:
        """Rendered header lines that show `secret`."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """`Authorization: Bearer SECRET`."""

    credential: str

    def headers(self, secret: str) -> bytes:
        """The header line."""
        return b"authorization: Bearer %b\r\n" % secret.encode("latin-1")


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """`HEADER: SECRET`."""

    credential: str
    header: str

    def headers(self, secret: str) -> bytes:
        """The header line."""
        return b"%b: %b\r\n" % (self.header.encode("latin-1"), secret.encode("latin-1"))
