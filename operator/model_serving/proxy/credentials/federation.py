"""Google's workload identity federation: a projected token is exchanged for one of Google, in one step or two.

Used by `google.py` where the platform names a file of type `external_account` (GOOGLE_APPLICATION_CREDENTIALS). That
file holds no secret; the pod's token lies where it says.
Reference: https://google.aip.dev/auth/4117
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from model_serving.proxy.credentials.exchange import TokenAnswer, TokenRequest
from model_serving.proxy.credentials.oauth import TokenService, bearer, form_request
from model_serving.proxy.credentials.token import Ask, Fetched
from model_serving.proxy_config import CredentialReport

_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a type)
_REMEDY = "let the workload identity pool trust this cluster, and the pod's ServiceAccount act for the service account"
_STS = TokenService("Google's security token service", _REMEDY)
_IAM = TokenService("Google's IAM credentials service", _REMEDY)
_FILE_BYTES = 1024 * 1024


class Format(msgspec.Struct, frozen=True):
    """How a token lies in its file."""

    type: str = "text"
    subject_token_field_name: str = ""


class CredentialSource(msgspec.Struct, frozen=True):
    """Where the pod's token comes from; only files are supported."""

    file: str = ""
    format: Format = Format()


class Impersonation(msgspec.Struct, frozen=True):
    """Options of acting for a service account."""

    token_lifetime_seconds: int = 3600


class ExternalAccount(msgspec.Struct):
    """The file that `gcloud iam workload-identity-pools create-cred-config` writes, as far as it is needed."""

    type: str
    audience: str
    subject_token_type: str
    token_url: str
    credential_source: CredentialSource
    service_account_impersonation_url: str = ""
    service_account_impersonation: Impersonation = Impersonation()


class _AccessToken(msgspec.Struct, rename="camel"):
    access_token: str


class FederationGrant:
    """A `TokenGrant`: the token of the pod, exchanged. Both files are read anew each time."""

    name = "Google token of the pod's federated identity"

    def __init__(self, file: str, scope: str) -> None:
        self._file = file
        self._scope = scope

    def stamp(self) -> Hashable:
        """The projected token is renewed often; what was fetched with the former one stays good."""
        return None

    def ask(self, wall: float) -> Ask:
        """The exchange; where the file names a service account, a second step acts for that. ValueError."""
        account = self._account()
        token = _pod_token(account.credential_source)
        fields = {
            "grant_type": _EXCHANGE_GRANT,
            "audience": account.audience,
            "scope": self._scope,
            "requested_token_type": _ACCESS_TOKEN,
            "subject_token": token,
            "subject_token_type": account.subject_token_type,
        }
        read = partial(self._exchanged, account, wall)
        return Ask(form_request(account.token_url, fields), read, (token,))

    def secrets(self) -> Iterable[str]:
        """None that last."""
        return ()

    def reports(self) -> list[CredentialReport]:
        """No Secret's."""
        return []

    def _account(self) -> ExternalAccount:
        try:
            account = msgspec.json.decode(_content(self._file), type=ExternalAccount)
        except msgspec.DecodeError as error:
            raise ValueError(f"{self._file} is not a file of type external_account ({error}): write it anew") from None
        if account.type != "external_account":
            raise ValueError(f"{self._file} is of type {account.type}: only external_account is supported")
        if not account.credential_source.file:
            raise ValueError(f"{self._file} names no file in credential_source: only files are supported there")
        return account

    def _exchanged(self, account: ExternalAccount, wall: float, answer: TokenAnswer) -> Fetched | Ask:
        fetched = _STS.token(answer, wall)
        if not account.service_account_impersonation_url:
            return fetched
        life = account.service_account_impersonation.token_lifetime_seconds
        headers = (("authorization", f"Bearer {fetched.value}"), ("content-type", "application/json"))
        body = msgspec.json.encode({"scope": [self._scope], "lifetime": f"{life}s"})
        request = TokenRequest("POST", account.service_account_impersonation_url, headers, body)
        # The lifetime is the one asked for; the answer's time of expiry is by another clock than ours.
        return Ask(request, partial(_impersonated, wall + life), fetched.secrets)


def _impersonated(expires_at: float, answer: TokenAnswer) -> Fetched:
    return bearer(_IAM.name, _IAM.understood(answer, _AccessToken).access_token, expires_at)


def _pod_token(source: CredentialSource) -> str:
    content = _content(source.file)
    if source.format.type == "json":
        try:
            content = msgspec.json.decode(content, type=dict[str, Any])[source.format.subject_token_field_name].encode()
        except (ValueError, KeyError, AttributeError):
            raise ValueError(
                f"{source.file} holds no {source.format.subject_token_field_name or 'field'} in JSON, which "
                "credential_source.format asks for"
            ) from None
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{source.file} does not hold a token") from None
    if not token:
        raise ValueError(f"{source.file} is empty: the pod's token should be there")
    return token


def _content(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(_FILE_BYTES)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
