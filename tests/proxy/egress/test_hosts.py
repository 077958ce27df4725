"""Where credentials go: to the host that the target names, if its address may be called, and nowhere else."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.http.pool import PoolSettings
from model_serving.proxy_config import CredentialFile
from tests.fakes.upstream import FakeUpstream, Received, raw, whole
from tests.proxy.certificates import make_pair
from tests.proxy.egress.ways import BODIES, WAYS, Services, Way, origin_of
from tests.proxy.harness import Answer, Files, Running, call, chat, proxy, target, until

VENDOR = "vendor.example.com"
FORBIDDEN = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "100.100.100.200", "::1", "::ffff:169.254.169.254", "fd00::1")
REDIRECTS = (301, 302, 303, 307, 308)
TOKEN_HOSTS: dict[str, Callable[[Platform], Platform]] = {
    "azuread": lambda its: replace(its, entra_authority=f"https://{VENDOR}"),
    "vertex key": lambda its: its,
    "bedrock role": lambda its: replace(its, aws_sts_url=f"https://{VENDOR}/"),
}
"""Where tokens come from, moved to the name."""


def every(*names: str) -> pytest.MarkDecorator:
    """All ways, or some."""
    return pytest.mark.parametrize("way", [w for w in WAYS if not names or w.name in names], ids=lambda way: way.name)


def resolve(running: Running, host: str, *addresses: str) -> None:
    """What the resolver says of `host`, for ever."""
    name = running.service._pool._dialler.names.of(host)  # type: ignore[attr-defined]
    name.addresses, name.seen = addresses, dict.fromkeys(addresses, math.inf)
    name.fresh_until = name.good_until = math.inf
    name.error = None


def ready(running: Running) -> bool:
    return bool(running.service.state.ready)  # type: ignore[attr-defined]


async def ask(running: Running, way: Way, **fields: Any) -> Answer:
    path, body = BODIES[way.task]
    return await call(running.port, f"{path.rpartition('/')[0]}/served-models/{way.entity}/invocations", body | fields)


def shows(upstream: FakeUpstream, secrets: list[str]) -> list[str]:
    """Which of these secrets an upstream was shown."""
    told = " ".join(f"{value}" for request in upstream.requests for _, value in request.headers)
    told += " ".join(f"{request.path} {request.body.decode()}" for request in upstream.requests)
    return [secret for secret in secrets if secret in told]


@every()
async def test_a_name_that_leads_where_nobody_may_go_is_not_called(files: Files, services: Services, way: Way) -> None:
    platform = way.lay_out(files, services, f"https://{VENDOR}")
    async with proxy(files, platform=platform) as running:
        await until(lambda: ready(running))  # tokens come from this machine
        files.policy(upstream_leave="public", version="p2")
        await until(lambda: running.service.state.status(0).policy_version == "p2")  # type: ignore[attr-defined]
        for address in FORBIDDEN:
            resolve(running, VENDOR, address)
            for stream in ({}, {"stream": True}) if way.name != "ai21labs" else ({},):
                answer = await ask(running, way, **stream)
                assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE"), address
                words = ("never called", "not called", "admin's leave")
                assert any(word in answer.json["message"] for word in words), answer.json


@pytest.mark.parametrize("name", TOKEN_HOSTS)
@pytest.mark.parametrize("address", FORBIDDEN)
async def test_a_token_service_is_held_to_the_same_rules(
    files: Files, services: Services, name: str, address: str
) -> None:
    way = next(way for way in WAYS if way.name == name)
    way.lay_out(files, services, f"https://{VENDOR}")
    for secret, value in way.secrets.items():
        files.secret(value.replace("{tokens}", f"https://{VENDOR}"), f"secret-{way.entity}", secret)
    files.policy(upstream_leave="public")
    running = proxy(files, platform=TOKEN_HOSTS[name](way.platform(services, files)))
    resolve(running, VENDOR, address)
    async with running:
        state = running.service.state  # type: ignore[attr-defined]
        await until(lambda: state.credentials.tokens() and state.credentials.tokens()[0].problem)
        assert any(word in state.credentials.tokens()[0].problem for word in ("called", "leave"))
        assert not ready(running)
    assert not services.tokens.requests and not services.aws.requests


@every()
async def test_a_redirect_is_an_error_that_says_so_and_nobody_is_called(
    files: Files, services: Services, upstream: FakeUpstream, way: Way
) -> None:
    platform = way.lay_out(files, services, origin_of(upstream))
    async with FakeUpstream() as elsewhere, proxy(files, platform=platform) as running:
        await until(lambda: ready(running))
        for number, status in enumerate(REDIRECTS, 1):
            upstream.scripts.append(whole(status, b"", location=f"{elsewhere.base}/chat/completions"))
            answer = await ask(running, way)
            assert (answer.status, answer.headers["x-should-retry"]) == (503, "false")
            assert "redirect" in answer.json["message"]
            assert "location" not in answer.headers
            assert len(upstream.requests) == number
        assert elsewhere.connections == 0


@every("azuread", "vertex key", "bedrock role", "vertex identity")
async def test_a_token_services_redirect_is_not_followed(
    files: Files, services: Services, upstream: FakeUpstream, way: Way
) -> None:
    async with FakeUpstream() as elsewhere:
        move = raw(f"HTTP/1.1 307 X\r\nlocation: {elsewhere.base}\r\ncontent-length: 0\r\n\r\n".encode())
        services.tokens.scripts += [move] * 50
        services.aws.scripts += [move] * 50
        platform = way.lay_out(files, services, origin_of(upstream))
        async with proxy(files, platform=platform) as running:
            await until(lambda: running.service.state.credentials.tokens()[0].problem)  # type: ignore[attr-defined]
        assert elsewhere.connections == 0


@every()
async def test_neither_of_two_targets_is_shown_the_others_key(
    files: Files, services: Services, upstream: FakeUpstream, way: Way
) -> None:
    other = Way("other", "custom", {"custom_provider_url": "{base}/v1"}, {"token": "sk-test-other-canary"},
                task=way.task, entity="two")  # fmt: skip
    platform = way.lay_out(files, services, origin_of(upstream))
    other.write_secrets(files, services)
    async with FakeUpstream() as second, proxy(files, platform=platform) as running:
        files.config([way.target(origin_of(upstream)), other.target(origin_of(second))])
        await until(lambda: len(running.service.state.runtime.targets) == 2 and ready(running))  # type: ignore[attr-defined]
        for status in (200, 401, 403):  # a refused credential is tried again with another value, if there is one
            for each in (upstream, second):
                each.scripts[:] = [whole(status, {"error": {"message": "x"}})] * 12
            await asyncio.gather(*(ask(running, which) for which in (way, other) * 3))
        assert upstream.requests and second.requests
        assert not shows(upstream, other.canaries[:1])
        assert not shows(second, [*way.canaries, *services.issued])
        assert shows(second, other.canaries[:1])


async def test_a_former_key_is_not_tried_at_another_host(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    files.secret("sk-test-first-canary")
    async with FakeUpstream(keys={"sk-test-third"}) as moved, proxy(files) as running:
        assert (await chat(running.port)).status == 200
        files.secret("sk-test-second-canary")
        await until(lambda: running.service.state.credentials.files()[0].value.endswith("second-canary"))  # type: ignore[attr-defined]
        files.config([target(moved.base)], revision="rev-2")
        await until(lambda: running.service.state.status(0).revision == "rev-2")  # type: ignore[attr-defined]
        assert (await chat(running.port)).status == 401
        assert shows(moved, ["sk-test-second-canary"])
        assert not shows(moved, ["sk-test-first-canary"])


async def test_a_call_under_way_keeps_its_host_and_its_key(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    files.secret("sk-test-first-canary")
    async with FakeUpstream() as moved, proxy(files) as running:

        async def change(received: Received, writer: asyncio.StreamWriter) -> None:
            files.secret("sk-test-second-canary", "vendor-2")
            changed = target(moved.base, credentials={"openai_api_key": CredentialFile("vendor-2", "token")})
            files.config([changed], revision="rev-2")
            await until(lambda: running.service.state.status(0).revision == "rev-2")  # type: ignore[attr-defined]
            await whole(401, {"error": {"message": "x"}})(received, writer)

        upstream.scripts.append(change)
        assert (await chat(running.port)).status == 401
        assert not moved.requests
        assert (await chat(running.port)).status == 200
    assert not shows(upstream, ["sk-test-second-canary"])
    assert not shows(moved, ["sk-test-first-canary"])


async def test_a_call_under_way_shows_no_key_that_came_with_another_host(files: Files, upstream: FakeUpstream) -> None:
    files.usual(upstream.base)
    files.secret("sk-test-first-canary")
    async with FakeUpstream() as moved, proxy(files) as running:

        async def change(received: Received, writer: asyncio.StreamWriter) -> None:
            files.config([target(moved.base)], revision="rev-2")
            await until(lambda: running.service.state.status(0).revision == "rev-2")  # type: ignore[attr-defined]
            files.secret("sk-test-second-canary")
            await whole(401, {"error": {"message": "x"}})(received, writer)

        upstream.scripts.append(change)
        assert (await chat(running.port)).status == 401
    assert not shows(upstream, ["sk-test-second-canary"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_pair(folder, "vendor", hosts=f"DNS:{VENDOR}")
    return folder


async def test_names_of_one_address_share_neither_connection_nor_certificate(files: Files, pair: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair / "vendor.crt", pair / "vendor.key")
    async with FakeUpstream(tls=context) as upstream:
        files.usual(f"https://{VENDOR}:{upstream.port}/v1")
        running = proxy(files, upstream=PoolSettings(ca_file=str(pair / "vendor.crt")))
        for host in (VENDOR, "other.example.com"):
            resolve(running, host, "127.0.0.1")
        async with running:
            assert (await chat(running.port)).status == 200
            files.config([target(f"https://other.example.com:{upstream.port}/v1")], revision="rev-2")
            await until(lambda: running.service.state.status(0).revision == "rev-2")  # type: ignore[attr-defined]
            assert "certificate is not accepted" in (await chat(running.port)).json["message"]
            files.config([target(f"https://{VENDOR}:{upstream.port}/v1")], revision="rev-3")
            files.policy(upstream_leave="public", version="p2")
            await until(lambda: running.service.state.status(0).policy_version == "p2")  # type: ignore[attr-defined]
            answer = await chat(running.port)
            assert "loopback" in answer.json["message"], "a connection that another policy allowed is not used"
        assert len(upstream.requests) == 1
