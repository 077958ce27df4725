"""What keeps a proxy that fetches tokens from being ready, as the local platform tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_serving.local.instance import findings_of
from model_serving.local.settings import RunSettings, child_environ
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialReport, ProxyStatus, TokenReport

TOKEN = TokenReport("Entra ID token of client c", problem="Entra ID refuses: correct the key k of Secret s")


@pytest.mark.parametrize(
    ("problem", "token", "told"),
    [
        pytest.param("", TOKEN, f"TokenNotFetched {TOKEN.name}: {TOKEN.problem}", id="the service's words are told"),
        pytest.param(CREDENTIAL_MISSING, TOKEN, "SecretNotFound Secret s does not exist", id="its Secret explains it"),
        pytest.param("", TokenReport("t"), "NotReady something else", id="a token without a problem is none"),
    ],
)
def test_a_token_that_cannot_be_fetched_is_told(tmp_path: Path, problem: str, token: TokenReport, told: str) -> None:
    reports = [CredentialReport("s", "k", problem=problem)]
    status = ProxyStatus("it", "r", 1, False, credentials=reports, tokens=[token], problems=["something else"])
    (finding,) = findings_of(status, tmp_path / "secrets" / "default")
    assert f"{finding.reason} {finding.message}".startswith(told)


def test_a_proxy_learns_where_its_identity_is_found_and_no_key_of_the_shell() -> None:
    shell = {
        "AZURE_AUTHORITY_HOST": "https://login.example",
        "GOOGLE_APPLICATION_CREDENTIALS": "/etc/identity.json",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
        "AZURE_CLIENT_SECRET": "canary",
        "AWS_SECRET_ACCESS_KEY": "canary",
    }
    handed = child_environ(RunSettings(environ=shell))
    assert {name: handed.get(name) for name in list(shell)[:3]} == dict(list(shell.items())[:3])
    assert "canary" not in handed.values()
