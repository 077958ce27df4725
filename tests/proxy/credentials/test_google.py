"""Google's tokens: by a service account's key, the metadata server and federation, against a service that checks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.credentials.google import GoogleIdentity, GoogleKey, google_scheme
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.credentials.scheme import Outgoing
from model_serving.proxy.hosts import Leave
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialFile, Target
from tests.fakes.token_service import ACCOUNT, AUDIENCE, IMPERSONATE, POD_TOKEN, FakeTokenService, new_key, pem
from tests.fakes.upstream import raw, whole
from tests.proxy.credentials.wired import Wired
from tests.proxy.harness import write

FILE = CredentialFile("cloud", "key")
KEYS = [new_key(), new_key()]


@pytest.fixture
async def service() -> AsyncIterator[FakeTokenService]:
    async with FakeTokenService(keys_by_id={"kid-0": KEYS[0].public_key()}) as fake:
        yield fake


def key_file(service: FakeTokenService, number: int = 0, **changes: Any) -> str:
    """The JSON that Google gives for the account's key."""
    content = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": f"kid-{number}",
        "private_key": pem(KEYS[number]),
        "client_email": ACCOUNT,
        "token_uri": f"{service.url}/token",
    }
    return json.dumps(content | changes, indent=2)


def target(**changes: Any) -> Target:
    return Target("e", "google-cloud-vertex-ai", "llm/v1/chat", "gemini", **changes)


def test_the_scheme_follows_the_settings() -> None:
    assert google_scheme(target(settings={"workload_identity": "true"})) == GoogleIdentity()
    assert google_scheme(target(credentials={"private_key": FILE})) == GoogleKey(FILE)
    with pytest.raises(KeyError, match="private_key"):
        google_scheme(target())


def test_the_token_is_shown_as_bearer() -> None:
    for scheme in (GoogleIdentity(), GoogleKey(FILE)):
        assert scheme.headers("t", Outgoing("h", "/", b"", 0.0)) == b"authorization: Bearer t\r\n"


async def test_a_key_signs_for_a_token(service: FakeTokenService, tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(key_file(service))
    await wired.look()
    assert (wired.problem, wired.source.value) == ("", service.issued[0])
    assert wired.source.reports()[0].problem == ""


@pytest.mark.parametrize("skew", [pytest.param(-9.0, id="behind"), pytest.param(300.0, id="ahead")])
async def test_a_clock_that_differs_a_little_does_not_matter(
    service: FakeTokenService, tmp_path: Path, skew: float
) -> None:
    service.clock = skew
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(key_file(service))
    await wired.look()
    assert wired.source.value, wired.problem


async def test_a_clock_that_differs_much_is_named_as_a_reason(service: FakeTokenService, tmp_path: Path) -> None:
    service.clock = 7200.0
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(key_file(service))
    await wired.look()
    assert "short-lived token" in wired.problem
    assert "clock" in wired.problem


async def test_a_key_that_google_does_not_know_is_told_with_a_remedy(service: FakeTokenService, tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(key_file(service, 1))
    await wired.look()
    assert wired.problem == (
        "Google's token service refuses with status 400 (invalid_grant: Invalid JWT Signature): put a valid key of "
        f"{ACCOUNT} under key into Secret cloud, and see that this node's clock is right"
    )
    assert "Google token by the key key of Secret cloud" in wired.source.fault


async def test_a_replaced_key_is_used_at_once(service: FakeTokenService, tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(key_file(service, 1))
    await wired.look()
    assert not wired.source.value
    wired.secret(key_file(service, 0))
    await wired.look()
    assert (wired.problem, wired.source.value) == ("", service.issued[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("sk-test", "not JSON", id="something else"),
        pytest.param("[]", "not a service account's key", id="JSON of another kind"),
        pytest.param('{"type": "authorized_user"}', "missing required field `client_email`", id="fields are missing"),
        pytest.param(
            '{"type": "external_account", "client_email": "a", "private_key": "b"}',
            "not of type service_account",
            id="another type",
        ),
        pytest.param('{"x": ' + "[" * 100_000, "not JSON", id="nested without end"),
    ],
)
async def test_a_file_that_is_no_key_is_told(tmp_path: Path, content: str, words: str) -> None:
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(content)
    await wired.look()
    (report,) = wired.source.reports()
    assert words in report.problem
    assert "store the whole JSON file" in report.problem
    assert report.problem in wired.problem


async def test_a_key_that_does_not_sign_is_told_without_quoting_it(service: FakeTokenService, tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(key_file(service, private_key="-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"))
    await wired.look()
    assert "not an RSA key in PEM format" in wired.problem
    assert "canary" not in wired.problem


async def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleKey(FILE))
    await wired.look()
    assert wired.source.reports()[0].problem == CREDENTIAL_MISSING
    assert wired.problem == "the key key of Secret cloud is missing"


async def test_private_keys_are_scrubbed(service: FakeTokenService, tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleKey(FILE))
    wired.secret(key_file(service))
    await wired.look()
    for secret in (pem(KEYS[0]), json.dumps(pem(KEYS[0])), service.issued[0], key_file(service)):
        told = wired.store.scrub(b"oops " + secret.encode())
        assert b"MII" not in told
        assert b"canary" not in told


# The pod's own identity


async def test_the_metadata_server_says_who_the_pod_is(service: FakeTokenService, tmp_path: Path) -> None:
    platform = Platform(google_metadata_host=f"127.0.0.1:{service.port}")
    wired = Wired(tmp_path, GoogleIdentity(), platform, Leave.PUBLIC)
    await wired.look()
    assert (wired.problem, wired.source.value) == ("", service.issued[0])
    assert wired.source.reports() == []


async def test_a_machine_without_a_metadata_server_is_told_what_to_do(tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleIdentity(), Platform(google_metadata_host="127.0.0.1:1"))
    await wired.look()
    assert wired.problem.startswith("Google's metadata server cannot be reached: the connection is refused; it is")
    assert "give a privateKeySecretRef" in wired.problem


async def test_a_pod_without_identity_is_told(service: FakeTokenService, tmp_path: Path) -> None:
    denied = b"Unable to generate access token; IAM returned 403 Forbidden\nmore\n"
    service.scripts.append(whole(404, denied))
    wired = Wired(tmp_path, GoogleIdentity(), Platform(google_metadata_host=f"127.0.0.1:{service.port}"))
    await wired.look()
    assert wired.problem.startswith(
        "Google's metadata server refuses with status 404 (Unable to generate access token; IAM returned 403 Forbidden)"
    )
    assert "serviceAccountAnnotations" in wired.problem


def external(service: FakeTokenService, root: Path, **changes: Any) -> Platform:
    """A platform that names an `external_account` file, with the pod's token beside it."""
    write(root / "token", POD_TOKEN + "\n")
    content = {
        "universe_domain": "googleapis.com",
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{service.url}/v1/token",
        "credential_source": {"file": str(root / "token"), "format": {"type": "text"}},
    }
    write(root / "credentials.json", json.dumps(content | changes))
    return Platform(google_credentials_file=str(root / "credentials.json"))


async def test_a_projected_token_is_exchanged(service: FakeTokenService, tmp_path: Path) -> None:
    wired = Wired(tmp_path, GoogleIdentity(), external(service, tmp_path))
    await wired.look()
    assert (wired.problem, wired.source.value) == ("", service.issued[0])


async def test_then_a_service_account_is_acted_for(service: FakeTokenService, tmp_path: Path) -> None:
    platform = external(service, tmp_path, service_account_impersonation_url=service.url + IMPERSONATE)
    wired = Wired(tmp_path, GoogleIdentity(), platform)
    await wired.look()
    assert (wired.problem, wired.source.value) == ("", service.issued[1])
    assert service.issued[1].startswith("i-")


async def test_a_token_file_may_be_json(service: FakeTokenService, tmp_path: Path) -> None:
    source = {
        "file": str(tmp_path / "json"),
        "format": {"type": "json", "subject_token_field_name": "access_token"},
    }
    platform = external(service, tmp_path, credential_source=source)
    write(tmp_path / "json", json.dumps({"access_token": POD_TOKEN, "n": 1}))
    wired = Wired(tmp_path, GoogleIdentity(), platform)
    await wired.look()
    assert wired.source.value, wired.problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"type": "service_account"}, "only external_account is supported", id="another type"),
        pytest.param({"credential_source": {"url": "http://x"}}, "names no file in credential_source", id="a URL"),
        pytest.param({"credential_source": {"file": "/nowhere/token"}}, "/nowhere/token cannot be read", id="no file"),
        pytest.param({"audience": 5}, "not a file of type external_account", id="a field of another type"),
        pytest.param({"token_url": "ftp://x"}, "must start with https://", id="a URL of another kind"),
        pytest.param({"audience": "other"}, "let the workload identity pool trust", id="the pool refuses"),
        pytest.param(
            {"service_account_impersonation_url": "/"}, "must start with https://", id="impersonation goes nowhere"
        ),
    ],
)
async def test_what_is_wrong_with_federation_is_told(
    service: FakeTokenService, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    wired = Wired(tmp_path, GoogleIdentity(), external(service, tmp_path, **changes))
    await wired.look()
    assert words in wired.problem
    assert "canary" not in wired.problem


async def test_federation_tells_what_is_wrong_with_both_files(service: FakeTokenService, tmp_path: Path) -> None:
    platform = external(service, tmp_path)
    write(tmp_path / "token", "")
    wired = Wired(tmp_path, GoogleIdentity(), platform)
    await wired.look()
    assert "is empty: the pod's token should be there" in wired.problem
    (tmp_path / "credentials.json").unlink()
    await wired.look(jump=100.0)
    assert "credentials.json cannot be read: No such file" in wired.problem


async def test_an_answer_that_breaks_off_is_none(service: FakeTokenService, tmp_path: Path) -> None:
    service.scripts.append(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", close=True))
    wired = Wired(tmp_path, GoogleIdentity(), Platform(google_metadata_host=f"127.0.0.1:{service.port}"))
    await wired.look()
    assert "it is asked again" in wired.problem
    await wired.look(jump=2.0)
    assert wired.source.value
