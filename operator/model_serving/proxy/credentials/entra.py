"""Microsoft Entra ID: a token for an application, by its client secret (`azuread`).

Reference: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from dataclasses import dataclass

from model_serving.proxy.credentials.scheme import ONLY_401, Opening, Outgoing, Source
from model_serving.proxy_config import CredentialFile


@dataclass(frozen=True, slots=True)
class EntraClient:
    """`Authorization: Bearer TOKEN`, the token fetched with the client's secret."""

    tenant: str
    client: str
    secret: CredentialFile
    scope: str

    refusals = ONLY_401

    @property
    def files(self) -> tuple[CredentialFile, ...]:
        """The client's secret."""
        return (self.secret,)

    def source(self, opening: Opening) -> Source:
        """Fetches the token."""
        raise NotImplementedError

    def headers(self, value: str, request: Outgoing) -> bytes:
        """The header line."""
        return b"authorization: Bearer %b\r\n" % value.encode("latin-1")
