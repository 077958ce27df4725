"""Calls to Azure with Entra ID through a proxy: tokens come, change, fail and are refused, while calls are made."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.app import ProxyService
from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy_config import CredentialFile, ProxyStatus, Target
from tests.fakes.token_service import ACCOUNT, CLIENT, CLIENT_SECRET, TENANT, FakeTokenService, new_key, pem
from tests.fakes.upstream import FakeUpstream, silence, whole
from tests.proxy.harness import CHAT, Answer, Files, Running, call, chat, proxy, until


def azure(upstream: FakeUpstream, **settings: str) -> Target:
    return Target(
        entity="gpt",
        provider="openai",
        task=CHAT,
        model="gpt-real",
        settings={
            "openai_api_type": "azuread",
            "openai_api_base": upstream.base,
            "openai_api_version": "2024-10-21",
            "openai_deployment_name": "gpt",
            "microsoft_entra_tenant_id": TENANT,
            "microsoft_entra_client_id": CLIENT,
        }
        | settings,
        credentials={"microsoft_entra_client_secret": CredentialFile("vendor", "token")},
    )


def lay_out(files: Files, upstream: FakeUpstream, secret: str = CLIENT_SECRET, **settings: str) -> None:
    files.config([azure(upstream, **settings)])
    files.policy()
    files.key()
    files.secret(secret)


def azure_proxy(files: Files, service: FakeTokenService, **settings: Any) -> Running:
    return proxy(files, platform=Platform(entra_authority=service.url), **settings)


@pytest.fixture
async def service() -> AsyncIterator[FakeTokenService]:
    async with FakeTokenService() as fake:
        yield fake


@pytest.fixture
async def running(files: Files, upstream: FakeUpstream, service: FakeTokenService) -> AsyncIterator[Running]:
    lay_out(files, upstream)
    async with azure_proxy(files, service) as running:
        await ready(running)
        yield running


async def status(running: Running) -> Any:
    return (await call(running.admin_port, "/status")).json


async def ready(running: Running) -> None:
    await until(lambda: told_by(running).ready)


def told_by(running: Running) -> ProxyStatus:
    """The same, without asking for it."""
    assert isinstance(running.service, ProxyService)
    return running.service.status()


def source(running: Running) -> Any:
    assert isinstance(running.service, ProxyService)
    return next(iter(running.service.state.credentials._sources.values()))


def tick_at(running: Running, seconds: float) -> None:
    """Lets the proxy believe that so many seconds have gone by."""
    assert isinstance(running.service, ProxyService)
    running.service.state.refresh(asyncio.get_running_loop().time() + seconds, time.time() + seconds)


def shown(upstream: FakeUpstream) -> list[str]:
    """The tokens that the provider has seen."""
    return [(request.header("authorization") or "").removeprefix("Bearer ") for request in upstream.requests]


async def test_a_call_shows_the_token_and_never_the_secret(
    running: Running, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    answers = [await chat(running.port) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert shown(upstream) == service.issued * 3
    assert CLIENT_SECRET not in repr(upstream.requests)


async def test_a_proxy_is_ready_with_its_first_token(
    files: Files, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    service.scripts.append(silence())
    lay_out(files, upstream)
    async with azure_proxy(files, service) as running:
        await until(lambda: service.requests)
        told = await status(running)
        assert told["ready"] is False
        assert told["tokens"] == [{"name": f"Entra ID token of client {CLIENT}", "fetches": 1}]


async def test_a_wrong_secret_is_told_in_words_until_it_is_put_right(
    files: Files, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    lay_out(files, upstream, secret="wrong-secret-canary")
    async with azure_proxy(files, service) as running:
        await until(lambda: told_by(running).tokens[0].problem)
        told = await status(running)
        problem = (
            "Entra ID refuses with status 401 (invalid_client: AADSTS7000215: Invalid client secret provided: "
            "[redacted]): correct the key token of Secret vendor, or microsoftEntraClientId and microsoftEntraTenantId"
        )
        assert told["tokens"][0]["problem"] == problem
        assert told["problems"] == [f"Entra ID token of client {CLIENT}: {problem}"]
        assert told["ready"] is False
        answer = await chat(running.port)
        assert answer.status == 503
        assert problem in answer.json["message"]
        files.secret(CLIENT_SECRET)
        await ready(running)
        assert (await chat(running.port)).status == 200
        assert (await status(running)).get("problems") is None


async def test_a_thousand_calls_without_a_valid_token_make_one_request_for_one(
    running: Running, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    asked = len(service.requests)
    service.delay = 0.5
    tick_at(running, 4000.0)  # as after a night's sleep of the machine
    assert source(running).value is None
    answers = await asyncio.gather(*(chat(running.port) for _ in range(1000)))
    assert {answer.status for answer in answers} == {200}
    assert len(service.requests) == asked + 1
    assert set(shown(upstream)) == {service.issued[-1]}


async def test_a_thousand_calls_whose_token_is_refused_make_one_request_for_another(
    running: Running, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    asked = len(service.requests)
    upstream.keys = {"e-token-canary-2"}
    service.delay = 0.5
    answers = await asyncio.gather(*(chat(running.port) for _ in range(1000)))
    assert {answer.status for answer in answers} == {200}
    assert len(service.requests) == asked + 1


async def test_a_stream_too_is_asked_for_again_with_another_token(
    running: Running, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    upstream.keys = {"e-token-canary-2"}
    answer = await chat(running.port, stream=True)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert shown(upstream) == service.issued


async def test_a_second_refusal_is_the_clients_answer(
    running: Running, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    upstream.keys = set()
    answers = [await chat(running.port) for _ in range(5)]
    assert {answer.json["error_code"] for answer in answers} == {answers[0].json["error_code"]}
    assert len(service.requests) == 2, "a provider that refuses each token makes no storm"
    assert "canary" not in repr([answer.body for answer in answers])


async def test_when_no_other_token_can_be_had_the_client_hears_why(
    running: Running, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    upstream.keys = set()
    service.secrets.clear()
    answer = await chat(running.port)
    assert answer.status == 503
    assert "served entity gpt cannot be called: Entra ID token" in answer.json["message"]
    assert "correct the key token of Secret vendor" in answer.json["message"]
    assert "canary" not in repr(answer.body)


async def test_a_client_that_goes_while_it_waits_leaves_nothing_behind(
    running: Running, service: FakeTokenService
) -> None:
    service.delay = 60.0
    tick_at(running, 4000.0)
    calls = [asyncio.ensure_future(chat(running.port)) for _ in range(5)]
    await until(lambda: len(source(running)._waiting) == 5)
    for waiting in calls:
        waiting.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await until(lambda: not source(running)._waiting)
    await until(lambda: told_by(running).in_flight == 0)


async def test_waiting_ends_with_the_calls_time(
    files: Files, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    lay_out(files, upstream)
    files.config([azure(upstream)], request_timeout_seconds=0.3)
    async with azure_proxy(files, service) as running:
        await ready(running)
        service.delay = 60.0
        tick_at(running, 4000.0)
        assert (await chat(running.port)).status == 504
        assert not source(running)._waiting


async def test_a_failed_renewal_shows_while_the_former_token_serves(
    running: Running, service: FakeTokenService
) -> None:
    service.scripts += [whole(503, b"<html>busy</html>")] * 50
    tick_at(running, 3400.0)
    await until(lambda: told_by(running).tokens[0].problem)
    told = await status(running)
    assert told["ready"] is True
    assert told["problems"] == [f"Entra ID token of client {CLIENT}: Entra ID fails with status 503; it is asked again"]
    assert (await chat(running.port)).status == 200


async def test_when_the_former_token_has_expired_too_calls_hear_why_and_the_pod_stays(
    running: Running, service: FakeTokenService
) -> None:
    service.scripts += [whole(503, b"")] * 50
    tick_at(running, 4000.0)
    await until(lambda: not source(running).pending)
    answer = await chat(running.port)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "Entra ID fails with status 503" in answer.json["message"]
    assert (await call(running.admin_port, "/readyz")).status == 200


async def test_a_rotated_secret_brings_a_new_token_at_once(
    running: Running, files: Files, service: FakeTokenService
) -> None:
    service.secrets = {"the-next-secret"}
    files.secret("the-next-secret")
    await until(lambda: len(service.issued) == 2)
    await until(lambda: source(running).value == service.issued[1])


async def test_tokens_show_in_metrics(running: Running) -> None:
    page = (await call(running.admin_port, "/metrics")).body.decode()
    name = f'token="Entra ID token of client {CLIENT}"'
    samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if name in line)
    assert float(samples[f"model_serving_credential_token_fetches_total{{{name}}}"]) == 1
    assert float(samples[f"model_serving_credential_token_failures_total{{{name}}}"]) == 0
    expires = float(samples[f"model_serving_credential_token_expires_timestamp_seconds{{{name}}}"])
    assert 3000 < expires - time.time() <= 3600


async def test_no_secret_is_told_anywhere(
    files: Files, upstream: FakeUpstream, service: FakeTokenService, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(files, upstream)
    told: list[Answer] = []
    async with azure_proxy(files, service) as running:
        await ready(running)
        upstream.scripts.append(whole(500, {"error": {"message": f"with {service.issued[0]}: {CLIENT_SECRET}"}}))
        told.append(await chat(running.port))
        upstream.keys = set()
        told.append(await chat(running.port))
        service.secrets.clear()
        tick_at(running, 4000.0)
        await until(lambda: told_by(running).tokens[0].problem)
        told.append(await chat(running.port))
        told += [await call(running.admin_port, path) for path in ("/status", "/metrics", "/readyz")]
    everything = json.dumps([(answer.headers, answer.body.decode()) for answer in told]) + caplog.text
    assert "canary" not in everything


async def test_private_token_services_need_the_admins_leave(
    files: Files, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    lay_out(files, upstream)
    files.policy(upstream_leave="private")
    async with azure_proxy(files, service) as running:
        await until(lambda: told_by(running).tokens[0].problem)
        assert "loopback addresses are not called from here" in told_by(running).tokens[0].problem
    files.policy(upstream_leave="public")
    async with azure_proxy(files, service) as running:
        await until(lambda: told_by(running).tokens[0].problem)
        assert "http:// needs the admin's leave" in told_by(running).tokens[0].problem
    assert not service.requests


async def test_two_targets_of_one_client_share_a_token(
    files: Files, upstream: FakeUpstream, service: FakeTokenService, tmp_path: Path
) -> None:
    lay_out(files, upstream)
    files.config([azure(upstream), azure(upstream, openai_deployment_name="other")])
    async with azure_proxy(files, service) as running:
        await ready(running)
        assert len(service.requests) == 1


async def test_google_is_called_with_a_token_for_its_key(
    files: Files, upstream: FakeUpstream, service: FakeTokenService
) -> None:
    key = new_key()
    service.keys_by_id["k"] = key.public_key()
    content = {
        "type": "service_account", "private_key_id": "k", "private_key": pem(key), "client_email": ACCOUNT,
        "token_uri": f"{service.url}/token",
    }  # fmt: skip
    settings = {"project_id": "p", "region": "europe-west4", "vertex_api_base": upstream.base}
    credentials = {"private_key": CredentialFile("vendor", "token")}
    files.config([Target("e", "google-cloud-vertex-ai", CHAT, "gemini-2.5-pro", 100, settings, credentials)])
    files.policy()
    files.key()
    files.secret(json.dumps(content, indent=1))
    async with azure_proxy(files, service) as running:
        await ready(running)
        upstream.scripts.append(whole(401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}))
        await chat(running.port)
        assert shown(upstream) == service.issued == ["g-token-canary-1", "g-token-canary-2"]
