"""Credentials for AWS: access keys from Secrets, or the pod's own identity. Requests are signed (`sigv4.py`).

AWS says 403 of keys that it does not know or that have expired, so that 403 counts as a refusal besides 401.

Reference: https://docs.aws.amazon.com/bedrock/latest/userguide/security-iam.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from model_serving.proxy.credentials.aws_identity import identity_grant
from model_serving.proxy.credentials.credential import PREVIOUS_SECONDS, Credential, Steady
from model_serving.proxy.credentials.scheme import Opening, Outgoing, Scheme, Source
from model_serving.proxy.credentials.sigv4 import AccessKeys, Scope, signed_headers
from model_serving.proxy.credentials.token import TokenSource
from model_serving.proxy_config import CredentialFile, CredentialReport, Target

SERVICE = "bedrock"
REFUSALS = frozenset((401, 403))
SETTLE_SECONDS = 1.0
"""How long keys must have stayed the same before they replace others: their files may change one after the other."""


def aws_scheme(target: Target) -> Scheme:
    """How requests to a target at AWS are signed. KeyError for what is missing, ValueError for what cannot be."""
    scope = Scope(target.settings["aws_region"], SERVICE)
    if not re.fullmatch(r"[a-z0-9-]{1,64}", scope.region):
        raise ValueError("aws_region holds more than small letters, digits and hyphens")
    if "workload_identity" in target.settings:
        return AwsIdentity(scope)
    files = target.credentials
    return AwsKeys(scope, files["aws_access_key_id"], files["aws_secret_access_key"], files.get("aws_session_token"))


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Signatures with access keys from Secrets; `session` is the token of temporary ones."""

    scope: Scope
    id: CredentialFile
    secret: CredentialFile
    session: CredentialFile | None

    refusals = REFUSALS

    @property
    def files(self) -> tuple[CredentialFile, ...]:
        """Two or three."""
        return (self.id, self.secret) if self.session is None else (self.id, self.secret, self.session)

    def source(self, opening: Opening) -> Source:
        """The files, as a set."""
        return KeySet([opening.credential(file) for file in self.files])

    def headers(self, value: AccessKeys, request: Outgoing) -> bytes:
        """Time and signature."""
        return signed_headers(value, self.scope, request)


@dataclass(frozen=True, slots=True)
class AwsIdentity:
    """Signatures with the keys of the pod's own identity."""

    scope: Scope

    refusals = REFUSALS
    files = ()

    def source(self, opening: Opening) -> Source:
        """Fetches keys in the way that the platform offers."""
        return TokenSource(opening, identity_grant(opening.platform, self.scope.region))

    def headers(self, value: AccessKeys, request: Outgoing) -> bytes:
        """Time, session token and signature."""
        return signed_headers(value, self.scope, request)


class KeySet(Steady):
    """Access keys out of several files, which count together: never the id of one with the secret of another.

    A rotation replaces files in one step, or one after the other. Keys that change serve when they have stayed the same
    for a moment; earlier only after a refusal, when the ones at hand are of no use. The former ones stay for five
    minutes.
    """

    def __init__(self, files: list[Credential]) -> None:
        self.value: AccessKeys | None = None
        self._files = files
        self._found: AccessKeys | None = None
        self._found_at = 0.0
        self._former: AccessKeys | None = None
        self._former_until = 0.0

    @property
    def fault(self) -> str:
        """What is wrong with the first file that has a fault."""
        return next((file.fault for file in self._files if not file.value), "its keys are being read")

    def refresh(self, now: float, wall: float) -> None:
        """Looks at all files."""
        for file in self._files:
            file.refresh(now, wall)
        values = [file.value for file in self._files]
        found = AccessKeys(*values) if all(values) else None
        if found != self._found:
            self._found, self._found_at = found, now
        settled = self.value is None or found is None or now >= self._found_at + SETTLE_SECONDS
        if settled and self.value != found:
            if self.value is not None:
                self._former, self._former_until = self.value, now + PREVIOUS_SECONDS
            self.value = found

    def other_than(self, used: AccessKeys, now: float) -> AccessKeys | None:
        """Keys that may cure a refusal that `used` got: the newest, or the former ones."""
        former = self._former if now < self._former_until else None
        return next((keys for keys in (self._found, self.value, former) if keys is not None and keys != used), None)

    def known_values(self) -> Iterable[str]:
        """All values of all files, and the parts of keys that still serve."""
        kept = [part for keys in (self.value, self._former) if keys for part in (keys.id, keys.secret, keys.token)]
        return dict.fromkeys([*(value for file in self._files for value in file.known_values()), *filter(None, kept)])

    def reports(self) -> list[CredentialReport]:
        """How each file stands."""
        return [report for file in self._files for report in file.reports()]
