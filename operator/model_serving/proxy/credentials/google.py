"""Google: tokens for a service account's key, or for the pod's own identity.

Called by the providers of Google's APIs through `google_scheme`. The pod's identity is asked of the metadata server
(GKE's workload identity), or, where the platform names a file of type `external_account`, exchanged for a projected
token (workload identity federation).
References: https://developers.google.com/identity/protocols/oauth2/service-account,
https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity, https://google.aip.dev/auth/4117
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import msgspec

from model_serving.proxy.credentials.credential import Credential
from model_serving.proxy.credentials.exchange import TokenRequest
from model_serving.proxy.credentials.federation import FederationGrant
from model_serving.proxy.credentials.oauth import TokenService, form_request
from model_serving.proxy.credentials.scheme import OfOneFile, Opening, Scheme, ShownAsBearer, Source
from model_serving.proxy.credentials.token import Ask, TokenGrant, TokenSource
from model_serving.proxy_config import CredentialReport, Target

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE_SECONDS = 3600
"""The longest that Google accepts."""
_REMEDY = "store the whole JSON file that Google gave for the service account"
_SKEW_SECONDS = 10
"""Assertions are made out for a moment that has passed on every clock."""


def google_scheme(target: Target) -> Scheme:
    """The scheme of a target: by `workload_identity` or the key `private_key`. KeyError without either."""
    if "workload_identity" in target.settings:
        return GoogleIdentity()
    return GoogleKey(target.credentials["private_key"])


@dataclass(frozen=True, slots=True)
class GoogleKey(OfOneFile, ShownAsBearer):
    """A token fetched with an assertion that the service account's key signs, whose JSON is the file."""

    def source(self, opening: Opening) -> Source:
        """Fetches the token."""
        return TokenSource(opening, KeyGrant(opening.credential(self.file)))


@dataclass(frozen=True, slots=True)
class GoogleIdentity(ShownAsBearer):
    """A token fetched for the pod's own identity."""

    files = ()

    def source(self, opening: Opening) -> Source:
        """Fetches the token where the platform says."""
        platform = opening.platform
        grant: TokenGrant = MetadataGrant(platform.google_metadata_host)
        if platform.google_credentials_file:
            grant = FederationGrant(platform.google_credentials_file, SCOPE)
        return TokenSource(opening, grant)


class ServiceAccountKey(msgspec.Struct):
    """The JSON file that Google gives for a service account, as far as it is needed."""

    type: str
    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = TOKEN_URL


class KeyGrant:
    """A `TokenGrant`: an assertion signed with a service account's key."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    @property
    def name(self) -> str:
        """By the Secret: who the account is, is known only when that can be read."""
        file = self._credential.file
        return f"Google token by the key {file.key} of Secret {file.secret}"

    def stamp(self) -> Hashable:
        """The file."""
        return self._credential.content

    def ask(self, wall: float) -> Ask:
        """The one request. ValueError without a good key."""
        file = self._credential.file
        if problem := self._report().problem:
            raise ValueError(f"the key {file.key} of Secret {file.secret} is {problem}")
        key = read_key(self._credential.content)
        issued = int(wall) - _SKEW_SECONDS
        claims = {
            "iss": key.client_email,
            "scope": SCOPE,
            "aud": TOKEN_URL,
            "iat": issued,
            "exp": issued + _LIFE_SECONDS,
        }
        try:
            signed = import_module("model_serving.proxy.credentials.assertion").signed
            assertion: str = signed(claims, key.private_key, key.private_key_id)
        except ValueError as error:
            raise ValueError(
                f"private_key in the key {file.key} of Secret {file.secret} is {error}: {_REMEDY}"
            ) from None
        request = form_request(key.token_uri, {"grant_type": _JWT_GRANT, "assertion": assertion})
        service = TokenService(
            "Google's token service",
            f"put a valid key of {key.client_email} under {file.key} into Secret {file.secret}, and see that this "
            "node's clock is right",
        )
        return Ask(request, partial(service.token, wall=wall), (assertion,))

    def secrets(self) -> Iterable[str]:
        """The files' texts, and the key itself."""
        known = self._credential.known_values()
        try:
            return [*known, read_key(self._credential.content).private_key]
        except ValueError:
            return known

    def reports(self) -> list[CredentialReport]:
        """The file."""
        return [self._report()]

    def _report(self) -> CredentialReport:
        problem = ""
        if self._credential.content:
            try:
                read_key(self._credential.content)
            except ValueError as error:
                problem = str(error)
        return self._credential.report(problem)


def read_key(content: str) -> ServiceAccountKey:
    """The key in a file. ValueError tells what else it is, in words that follow `is`."""
    try:
        key = msgspec.json.decode(content, type=ServiceAccountKey)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a service account's key ({error}): {_REMEDY}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"not JSON: {_REMEDY}") from None
    if key.type != "service_account":
        raise ValueError(f"not of type service_account: {_REMEDY}")
    return key


class MetadataGrant:
    """A `TokenGrant`: whoever the metadata server says this pod is."""

    name = "Google token of the pod's workload identity"

    def __init__(self, host: str) -> None:
        self._url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token?scopes={SCOPE}"
        self._service = TokenService(
            "Google's metadata server",
            "give the endpoint's ServiceAccount access on Google's side (proxy.serviceAccountAnnotations names the "
            "service account to act as)",
            "it is asked again; outside of Google Cloud there is none: give a privateKeySecretRef, or let "
            "GOOGLE_APPLICATION_CREDENTIALS name a federation",
        )

    def stamp(self) -> Hashable:
        """Nothing that changes."""
        return None

    def ask(self, wall: float) -> Ask:
        """The one request."""
        request = TokenRequest("GET", self._url, (("metadata-flavor", "Google"),), platform=True)
        return Ask(request, partial(self._service.token, wall=wall))

    def secrets(self) -> Iterable[str]:
        """None."""
        return ()

    def reports(self) -> list[CredentialReport]:
        """No files."""
        return []
