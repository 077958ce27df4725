"""Keys for AWS that a pod gets by its own identity: for a token that the cluster signs, short-lived keys of a role.

Two ways, in the order of AWS' SDKs: role assumption with web identity (IRSA), which asks the region's STS; and
container credentials (EKS Pod Identity), which asks an agent on the node. The cluster renews the tokens' files, so that
they are read anew for each question. Used by `aws.py`.

References: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html,
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree

import msgspec

from model_serving.proxy.credentials.exchange import TokenAnswer, TokenRequest
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.credentials.sigv4 import AccessKeys
from model_serving.proxy.credentials.token import Ask, Fetched, TokenGrant
from model_serving.proxy.files import Watched
from model_serving.proxy.http.head import is_clean
from model_serving.proxy_config import CredentialReport

STS_VERSION = "2011-06-15"
STS_NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
SESSION_NAME = "model-serving"
MAX_ANSWER_BYTES = 64 * 1024
MAX_WORDS = 300

DOMAINS = (
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-iso-", "c2s.ic.gov"),
)
"""Domains of AWS' partitions by how their regions begin; all others are `amazonaws.com`."""

REMEDIES = {
    "AccessDenied": "let the role's trust policy name the cluster's OIDC provider and this ServiceAccount",
    "InvalidIdentityToken": "register the cluster's OIDC provider in IAM, with audience sts.amazonaws.com",
    "IDPCommunicationError": "AWS must reach the cluster's OIDC issuer over the internet",
    "IDPRejectedClaim": "let the role's trust policy accept this ServiceAccount and the audience sts.amazonaws.com",
    "ExpiredTokenException": "the token's file is stale, or this node's clock is wrong",
    "RegionDisabledException": "activate STS in that region, for the account",
}
"""What to do about errors of STS."""


def aws_domain(region: str) -> str:
    """The domain of a region's services."""
    return next((domain for prefix, domain in DOMAINS if region.startswith(prefix)), "amazonaws.com")


def identity_grant(platform: Platform, region: str) -> TokenGrant:
    """The way to keys that the platform offers."""
    if platform.aws_role_arn and platform.aws_web_identity_token_file:
        url = platform.aws_sts_url or f"https://sts.{region}.{aws_domain(region)}/"
        return WebIdentity(
            role=platform.aws_role_arn,
            session=platform.aws_role_session_name or SESSION_NAME,
            token_file=Path(platform.aws_web_identity_token_file),
            sts_url=url,
        )
    if platform.aws_container_credentials_uri:
        token_file = platform.aws_container_token_file
        return ContainerIdentity(platform.aws_container_credentials_uri, Path(token_file) if token_file else None)
    return NoIdentity()


@dataclass(frozen=True, slots=True)
class _Grant:
    """What all three have in common: no Secret, and a token file that is looked at when it is needed."""

    def stamp(self) -> Hashable:
        """Always the same: that the cluster has renewed a token's file does not end keys that it once gave."""
        return None

    def secrets(self) -> Iterable[str]:
        """None that last."""
        return ()

    def reports(self) -> list[CredentialReport]:
        """None: there is no Secret."""
        return []


@dataclass(frozen=True, slots=True)
class WebIdentity(_Grant):
    """A role of AWS, assumed with the token of a ServiceAccount (IRSA)."""

    role: str
    session: str
    token_file: Path
    sts_url: str

    @property
    def name(self) -> str:
        """The role."""
        return f"AWS keys of {self.role}"

    def ask(self, wall: float) -> Ask:
        """AssumeRoleWithWebIdentity. It is not signed: the token is what it shows."""
        token = _token(self.token_file)
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": STS_VERSION,
            "RoleArn": self.role,
            "RoleSessionName": self.session,
            "WebIdentityToken": token,
        }
        headers = (("content-type", "application/x-www-form-urlencoded"), ("accept", "text/xml"))
        return Ask(TokenRequest("POST", self.sts_url, headers, urlencode(form).encode()), self._read, (token,))

    def _read(self, answer: TokenAnswer) -> Fetched:
        if answer.failure:
            raise ValueError(f"AWS STS {answer.failure}; it is asked again")
        root = _xml(f"AWS STS answers with status {answer.status} and", answer.body)
        if answer.status == 200:
            return _fetched("AWS STS", _texts(root, "AssumeRoleWithWebIdentityResult", "Credentials"))
        error = _texts(root, "Error")
        code = error.get("Code", "")
        remedy = REMEDIES.get(code, "it is asked again")
        raise ValueError(f"AWS STS refuses with status {answer.status} ({code}: {error.get('Message', '')}): {remedy}")


@dataclass(frozen=True, slots=True)
class ContainerIdentity(_Grant):
    """The role that an agent on the node has for this pod (EKS Pod Identity). `token_file`: what it wants to see."""

    url: str
    token_file: Path | None

    name = "AWS keys of the pod's identity"

    def ask(self, wall: float) -> Ask:
        """A GET that shows the token. It leads to the clouds' identity services only, wherever the URL points."""
        if self.token_file is None:
            return Ask(TokenRequest("GET", self.url, platform=True), self._read)
        token = _token(self.token_file)
        return Ask(TokenRequest("GET", self.url, (("authorization", token),), platform=True), self._read, (token,))

    def _read(self, answer: TokenAnswer) -> Fetched:
        if answer.failure:
            raise ValueError(f"the EKS Pod Identity agent {answer.failure}; it is asked again")
        if answer.status != 200:
            words = answer.body[:MAX_WORDS].decode("utf-8", "replace")
            passing = answer.status == 429 or answer.status >= 500
            remedy = "it is asked again" if passing else "associate a role with the proxy's ServiceAccount"
            raise ValueError(f"the EKS Pod Identity agent refuses with status {answer.status} ({words}): {remedy}")
        try:
            return _fetched("the EKS Pod Identity agent", msgspec.json.decode(answer.body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError("the EKS Pod Identity agent answers with something else than JSON") from None


@dataclass(frozen=True, slots=True)
class NoIdentity(_Grant):
    """The platform gives this pod none."""

    name = "AWS keys of the pod's identity"

    def ask(self, wall: float) -> Ask:
        """Says what is missing."""
        raise ValueError(
            "this pod has no identity at AWS: annotate its ServiceAccount with a role by "
            "proxy.serviceAccountAnnotations (IRSA), or associate a role with it (EKS Pod Identity); "
            "where there is neither, give access keys"
        )


class _Keys(msgspec.Struct, rename="pascal"):
    """Temporary keys, by the names that both services use."""

    access_key_id: str
    secret_access_key: str
    expiration: datetime
    session_token: str = ""
    token: str = ""


def _fetched(service: str, answer: object) -> Fetched:
    try:
        found = msgspec.convert(answer, _Keys)
    except msgspec.ValidationError as error:
        raise ValueError(f"{service} answers without keys: {error}") from None
    keys = AccessKeys(found.access_key_id, found.secret_access_key, found.session_token or found.token)
    if not all(part and part.isascii() and is_clean(part.encode()) for part in (keys.id, keys.secret, keys.token)):
        raise ValueError(f"{service} answers with keys that are incomplete or cannot be sent in a header")
    expires = found.expiration if found.expiration.tzinfo else found.expiration.replace(tzinfo=UTC)
    return Fetched(keys, expires.timestamp(), (keys.id, keys.secret, keys.token))


def _token(path: Path) -> str:
    try:
        token = Watched(path).read().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"the token that shows this pod's identity to AWS cannot be read: {path}: {reason}") from None
    if not token or not token.isascii() or not is_clean(token):
        raise ValueError(f"the token that shows this pod's identity to AWS is empty or broken: {path}")
    return token.decode()


def _xml(what: str, body: bytes) -> ElementTree.Element:
    """The root of an answer. Declarations are refused: entities can blow up, or name files, and STS sends none.

    Only UTF-8 is read, so that no other encoding hides one.
    """
    try:
        text = body.decode()
        if len(body) > MAX_ANSWER_BYTES or "<!" in text:
            raise ValueError(f"{what} something that it never sends; it is asked again")
        return ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError):
        raise ValueError(f"{what} something else than XML; it is asked again") from None


def _texts(root: ElementTree.Element, *path: str) -> dict[str, str]:
    """The texts in an element by the names of its children; empty when it is not there."""
    found = root.find("/".join(f"{STS_NAMESPACE}{name}" for name in path))
    return {} if found is None else {child.tag.removeprefix(STS_NAMESPACE): child.text or "" for child in found}
