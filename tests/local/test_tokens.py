"""What keeps a proxy that fetches tokens from being ready, as the local platform tells it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_serving.local.instance import findings_of
from model_serving.local.settings import RunSettings, child_environ
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialReport, ProxyStatus, TokenReport
from tests.fakes.token_service import CLIENT, CLIENT_SECRET, TENANT, FakeTokenService
from tests.fakes.upstream import FakeUpstream
from tests.local.running import documents, free_port, running, say, secret, write

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


ENDPOINT = f"""
apiVersion: model-serving.dev/v1alpha1
kind: ServingEndpoint
metadata: {{name: it}}
spec:
  config:
    servedEntities:
      - name: e
        externalModel:
          name: gpt
          provider: openai
          task: llm/v1/chat
          openaiConfig:
            openaiApiType: azuread
            openaiApiBase: http://127.0.0.1:PORT
            openaiApiVersion: "1"
            openaiDeploymentName: gpt
            microsoftEntraTenantId: {TENANT}
            microsoftEntraClientId: {CLIENT}
            microsoftEntraClientSecretRef: {{name: cloud, key: key}}
"""


@contextmanager
def clouds() -> Iterator[tuple[FakeUpstream, FakeTokenService]]:
    """A provider and a token service in a thread of their own."""
    loop = asyncio.new_event_loop()
    fakes = FakeUpstream(keys={"e-token-canary-1"}), FakeTokenService()
    for fake in fakes:
        loop.run_until_complete(fake.__aenter__())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield fakes
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        for fake in fakes:
            loop.run_until_complete(fake.__aexit__())
        loop.close()


@pytest.mark.slow
def test_a_wrong_client_secret_is_told_and_put_right(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.yaml"
    with clouds() as (provider, service):
        endpoint = ENDPOINT.replace("PORT", str(provider.port))
        file.write_text(documents(secret("cloud", key="wrong-secret-canary"), endpoint))
        options = ("-f", str(file), "--port", str(free_port()))
        environ = {"AZURE_AUTHORITY_HOST": service.url, "MODEL_SERVING_PROGRESS_DEADLINE_SECONDS": "2"}
        with running(tmp_path, *options, environ=environ) as run:
            (told,) = run.serving()["endpoints"]
            assert not told["ready"]
            assert "TokenNotFetched" in told["message"]
            assert f"Entra ID token of client {CLIENT}: Entra ID refuses with status 401" in told["message"]
            assert "correct the key key of Secret cloud" in told["message"]
            write(file, documents(secret("cloud", key=f"'{CLIENT_SECRET}'"), endpoint))
            run.ready("it", 1)
            answer = run.client().chat.completions.create(model="it", messages=say("hi"))
            assert answer.choices[0].message.content
            assert "canary" not in run.text
        logs = [path.read_text() for path in (tmp_path / "state").rglob("*.log")]
        assert logs
        assert not any("canary" in text for text in logs)
