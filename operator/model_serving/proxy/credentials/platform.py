"""What the platform gives a pod to show who it is: variables that clouds' own tools read. Read by `settings.py`.

References: AWS SDKs and tools reference guide (assume role with web identity, container credentials); Google's
application default credentials; azure-identity's environment variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platform:
    """The identity of this pod. Empty: not given."""

    aws_role_arn: str = ""
    aws_role_session_name: str = ""
    aws_web_identity_token_file: str = ""
    aws_sts_url: str = ""
    """In place of the region's own STS."""
    aws_container_credentials_uri: str = ""
    aws_container_token_file: str = ""
    google_metadata_host: str = "metadata.google.internal"
    google_credentials_file: str = ""
    """A file of type `external_account`, for identity federation outside Google's clusters."""
    entra_authority: str = "https://login.microsoftonline.com"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Platform:
        """As the platform's webhooks and admins set it."""

        def given(name: str) -> str:  # what the operator hands on has its prefix
            return environ.get(f"MODEL_SERVING_{name}") or environ.get(name, "")

        return cls(
            aws_role_arn=environ.get("AWS_ROLE_ARN", ""),
            aws_role_session_name=environ.get("AWS_ROLE_SESSION_NAME", ""),
            aws_web_identity_token_file=environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", ""),
            aws_sts_url=given("AWS_ENDPOINT_URL_STS"),
            aws_container_credentials_uri=environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", ""),
            aws_container_token_file=environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""),
            google_metadata_host=environ.get("GCE_METADATA_HOST", cls().google_metadata_host),
            google_credentials_file=environ.get("GOOGLE_APPLICATION_CREDENTIALS", ""),
            entra_authority=(given("AZURE_AUTHORITY_HOST") or cls().entra_authority).rstrip("/"),
        )
