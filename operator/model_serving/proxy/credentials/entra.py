"""Microsoft Entra ID: a token for an application, by its client secret (`azuread`).

Reference: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from model_serving.proxy.credentials.credential import Credential
from model_serving.proxy.credentials.oauth import TokenService, form_request
from model_serving.proxy.credentials.scheme import Opening, ShownAsBearer, Source
from model_serving.proxy.credentials.token import Ask, TokenSource
from model_serving.proxy_config import CredentialFile, CredentialReport


@dataclass(frozen=True, slots=True)
class EntraClient(ShownAsBearer):
    """A token fetched with the client's secret."""

    tenant: str
    client: str
    secret: CredentialFile
    scope: str

    @property
    def files(self) -> tuple[CredentialFile, ...]:
        """The client's secret."""
        return (self.secret,)

    def source(self, opening: Opening) -> Source:
        """Fetches the token."""
        grant = ClientSecretGrant(self, opening.credential(self.secret), opening.platform.entra_authority)
        return TokenSource(opening, grant)


class ClientSecretGrant:
    """A `TokenGrant`: client credentials."""

    def __init__(self, client: EntraClient, secret: Credential, authority: str) -> None:
        self._client = client
        self._secret = secret
        base = authority if "://" in authority else f"https://{authority}"
        self._url = f"{base}/{quote(client.tenant, safe='')}/oauth2/v2.0/token"
        self._service = TokenService(
            "Entra ID",
            f"correct the key {secret.file.key} of Secret {secret.file.secret}, or microsoftEntraClientId and "
            "microsoftEntraTenantId",
        )

    @property
    def name(self) -> str:
        """By the application."""
        return f"Entra ID token of client {self._client.client}"

    def stamp(self) -> Hashable:
        """The secret."""
        return self._secret.value

    def ask(self, wall: float) -> Ask:
        """The one request. ValueError without the secret."""
        if not self._secret.value:
            raise ValueError(self._secret.fault)
        fields = {
            "grant_type": "client_credentials",
            "client_id": self._client.client,
            "client_secret": self._secret.value,
            "scope": self._client.scope,
        }
        return Ask(form_request(self._url, fields), partial(self._service.token, wall=wall))

    def secrets(self) -> Iterable[str]:
        """The secret and the former one."""
        return self._secret.known_values()

    def reports(self) -> list[CredentialReport]:
        """The secret."""
        return self._secret.reports()
