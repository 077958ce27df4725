"""Requests for tokens on their way: which hosts they reach, and what comes of answers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.credentials import fetch
from model_serving.proxy.credentials.entra import EntraClient
from model_serving.proxy.credentials.exchange import TokenRequest
from model_serving.proxy.credentials.fetch import rendered
from model_serving.proxy.credentials.google import GoogleIdentity
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.hosts import Leave
from model_serving.proxy_config import CredentialFile
from tests.fakes.token_service import AZURE_SCOPE, CLIENT, CLIENT_SECRET, TENANT, FakeTokenService
from tests.fakes.upstream import raw, silence, whole
from tests.proxy.credentials.wired import Wired

SCHEME = EntraClient(TENANT, CLIENT, CredentialFile("cloud", "key"), AZURE_SCOPE)


@pytest.fixture
async def service() -> AsyncIterator[FakeTokenService]:
    async with FakeTokenService() as fake:
        yield fake


def wired(root: Path, service: FakeTokenService, leave: Leave = Leave.LOCAL) -> Wired:
    made = Wired(root, SCHEME, Platform(entra_authority=service.url), leave)
    made.secret(CLIENT_SECRET)
    return made


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(whole(302, b"", location="http://127.0.0.1:1/"), "refuses with status 302", id="a redirect"),
        pytest.param(whole(200, b"x" * 300_000), "more than 262144 bytes", id="an answer without measure"),
        pytest.param(whole(200, b"{}"), "something else than a token", id="no token"),
        pytest.param(whole(200, {"access_token": "a\nb: c", "expires_in": 60}), "cannot be sent", id="two lines"),
        pytest.param(whole(200, {"access_token": "a", "expires_in": -60}), "has expired already", id="expired"),
        pytest.param(whole(200, {"access_token": "a", "expires_in": 1e400}), "something else", id="forever"),
        pytest.param(
            whole(200, {"access_token": "a", "expires_in": 10**400}), "something else", id="more than numbers hold"
        ),
        pytest.param(raw(b"SSH-2.0\r\n", close=True), "cannot be reached", id="not HTTP"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\n\r\n{", close=True), "broke off its answer", id="no length"),
        pytest.param(whole(429, {"error": {"message": "slow"}}), "asked again", id="too many requests"),
        pytest.param(whole(400, b"\xff\x00\n"), "refuses with status 400", id="not text"),
    ],
)
async def test_what_is_no_token_is_told_and_asked_for_again(
    service: FakeTokenService, tmp_path: Path, script: Any, words: str
) -> None:
    service.scripts.append(script)
    made = wired(tmp_path, service)
    await made.look()
    assert words in made.problem
    assert made.problem.isprintable()
    await made.look(jump=2.0)
    assert (made.problem, made.source.value) == ("", service.issued[-1])


async def test_silence_ends(service: FakeTokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "DEADLINE_SECONDS", 0.2)
    service.scripts.append(silence())
    made = wired(tmp_path, service)
    await made.look()
    assert made.problem == "Entra ID did not answer within 0.2 s; it is asked again"


async def test_an_answer_that_drips_ends_too(
    service: FakeTokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "DEADLINE_SECONDS", 0.3)
    service.scripts.append(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", *[b" "] * 100))
    made = wired(tmp_path, service)
    await made.look()
    assert "did not answer within 0.3 s" in made.problem
    await asyncio.sleep(0.1)
    assert service.closed == 1, "the connection is not left open"


@pytest.mark.parametrize(
    ("leave", "words"),
    [
        pytest.param(Leave.PUBLIC, "http:// needs the admin's leave", id="http needs leave"),
        pytest.param(Leave.PRIVATE, "loopback addresses are not called from here", id="loopback needs more"),
    ],
)
async def test_token_services_are_called_under_the_policys_rules(
    service: FakeTokenService, tmp_path: Path, leave: Leave, words: str
) -> None:
    made = wired(tmp_path, service, leave)
    await made.look()
    assert words in made.problem
    assert not service.requests


async def test_the_metadata_server_is_found_at_no_other_address(tmp_path: Path) -> None:
    made = Wired(tmp_path, GoogleIdentity(), Platform(google_metadata_host="10.1.2.3"))
    await made.look()
    assert "this is not the address of a cloud's identity service" in made.problem


def test_a_request_is_rendered_with_what_http_needs() -> None:
    request = TokenRequest("POST", "https://sts.example/a?b=c", (("X-One", "1"), ("Host", "other.example")), b"body")
    origin, message = rendered(request, Leave.PUBLIC)
    assert (origin.https, origin.host, origin.port, origin.realm) == (True, "sts.example", 443, "public")
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert (first, body) == (b"POST /a?b=c HTTP/1.1", b"body")
    assert set(lines) == {
        b"host: other.example",
        b"user-agent: model-serving",
        b"accept: application/json",
        b"x-one: 1",
        b"accept-encoding: identity",
        b"connection: close",
        b"content-length: 4",
    }


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"url": "https://user:secret@sts.example/"}, id="credentials in the URL"),
        pytest.param({"url": "https://sts.example/a b"}, id="a blank in the path"),
        pytest.param({"url": "https://sts.example/\u00e4"}, id="a path outside ASCII"),
        pytest.param({"url": "https://sts.example:99999999/"}, id="a port that cannot be"),
        pytest.param({"headers": (("a", "b\r\nc: d"),)}, id="a header of two lines"),
    ],
)
def test_what_cannot_be_sent_is_not_sent(changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {"method": "GET", "url": "https://sts.example/"}
    with pytest.raises(ValueError):
        rendered(TokenRequest(**(values | changes)), Leave.PUBLIC)
