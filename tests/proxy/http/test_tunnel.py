"""Through an HTTP proxy: what goes through it, what does not, and what is told when it makes no tunnel."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.http.pool import PoolSettings
from model_serving.proxy.http.tunnel import HttpProxy, parse_direct
from model_serving.proxy.settings import ProxySettings, SettingsError
from model_serving.proxy_config import CredentialFile
from tests.fakes.http_proxy import FakeHttpProxy
from tests.fakes.upstream import FakeUpstream, whole
from tests.proxy.certificates import make_pair
from tests.proxy.harness import SECRET, Files, Running, chat, proxy, target, until

NAME = "vendor.example.com"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_pair(folder, "vendor", hosts=f"DNS:{NAME},DNS:localhost,IP:127.0.0.1")
    return folder


@pytest.fixture
async def secure(pair: Path) -> AsyncIterator[FakeUpstream]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair / "vendor.crt", pair / "vendor.key")
    async with FakeUpstream(tls=context) as upstream:
        yield upstream


@pytest.fixture
async def door() -> AsyncIterator[FakeHttpProxy]:
    async with FakeHttpProxy() as door:
        yield door


def behind(files: Files, door: FakeHttpProxy, pair: Path, url: str, **changes: Any) -> Running:
    """A proxy behind the HTTP proxy, with one target at `url`."""
    files.usual(url)
    files.policy(upstream_leave=changes.pop("leave", "public"))
    way = HttpProxy("127.0.0.1", door.port, changes.pop("direct", ()))
    settings = PoolSettings(proxy=way, ca_file=str(pair / "vendor.crt"), connect_seconds=5.0)
    return proxy(files, upstream=settings, **changes)


async def test_a_name_that_only_the_proxy_knows_is_called_through_it(
    files: Files, door: FakeHttpProxy, secure: FakeUpstream, pair: Path
) -> None:
    async with behind(files, door, pair, f"https://{NAME}:{secure.port}/v1") as running:
        assert (await chat(running.port)).status == 200
        assert (await chat(running.port, stream=True)).body.endswith(b"data: [DONE]\n\n")
        many = await asyncio.gather(*(chat(running.port) for _ in range(8)))
    assert {answer.status for answer in many} == {200}
    assert set(door.tunnels) == {f"{NAME}:{secure.port}"}
    assert len(door.tunnels) < 10, "a tunnel is used again"
    assert secure.requests[0].header("host") == f"{NAME}:{secure.port}"
    assert SECRET.encode() not in door.seen, "the proxy sees ciphertext"


async def test_tokens_are_fetched_through_it(
    files: Files, door: FakeHttpProxy, secure: FakeUpstream, pair: Path
) -> None:
    where = f"https://{NAME}:{secure.port}"
    secure.scripts.append(whole(200, {"access_token": "token-1", "expires_in": 3600}))
    settings = {
        "openai_api_type": "azuread", "openai_api_base": where, "openai_api_version": "1",
        "openai_deployment_name": "d",
        "microsoft_entra_tenant_id": "tenant", "microsoft_entra_client_id": "client",
    }  # fmt: skip
    credentials = {"microsoft_entra_client_secret": CredentialFile("vendor", "token")}
    made = behind(files, door, pair, where, platform=Platform(entra_authority=where))
    files.config([target(where, settings=settings, credentials=credentials)])
    async with made as running:
        await until(lambda: running.service.state.ready)  # type: ignore[attr-defined]
        assert (await chat(running.port)).status == 200
    assert secure.requests[0].path == "/tenant/oauth2/v2.0/token"
    assert secure.requests[-1].header("authorization") == "Bearer token-1"
    assert set(door.tunnels) == {f"{NAME}:{secure.port}"}
    assert SECRET.encode() not in door.seen, "the proxy sees ciphertext"


async def test_the_certificate_must_be_the_upstreams(
    files: Files, door: FakeHttpProxy, secure: FakeUpstream, pair: Path
) -> None:
    async with behind(files, door, pair, f"https://other.example.com:{secure.port}/v1") as running:
        answer = await chat(running.port)
        assert (answer.status, "certificate is not accepted" in answer.json["message"]) == (503, True)
        assert running.service._pool.state() == (0, 0)  # type: ignore[attr-defined]
    assert not secure.requests


@pytest.mark.parametrize(
    ("target", "words"),
    [
        pytest.param(("https://metadata.google.internal/v1", "local"), "never", id="a metadata service by its name"),
        pytest.param(("https://metadata.goog../v1", "local"), "never", id="the same with dots that some leave out"),
        pytest.param(("https://kubernetes.default.svc.cluster.local/v1", "local"), "", id="the API server: not beyond"),
        pytest.param(("https://169.254.169.254/v1", "local"), "never", id="a metadata service by its address"),
        pytest.param(("https://vllm.corp.internal/v1", "public"), "admin's leave", id="a private name without leave"),
        pytest.param(("https://10.1.2.3/v1", "public"), "admin's leave", id="a private address without leave"),
        pytest.param(("https://0x7f.1/v1", "public"), "", id="loopback as numbers"),
        pytest.param(("http://vllm.corp.internal/v1", "private"), "would see the key", id="in the clear"),
    ],
)
async def test_names_are_checked_before_the_proxy_hears_of_them(
    files: Files, door: FakeHttpProxy, pair: Path, target: tuple[str, str], words: str
) -> None:
    async with behind(files, door, pair, target[0], leave=target[1]) as running:
        answer = await chat(running.port)
    assert (answer.status, words in answer.json["message"]) == (503, True), answer
    assert not door.tunnels


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(b"HTTP/1.1 403 Forbidden\r\n\r\n", "status 403", id="refused"),
        pytest.param(b"HTTP/1.1 407 Auth\r\nproxy-authenticate: Basic\r\n\r\n", "wants credentials", id="credentials"),
        pytest.param(b"HTTP/1.1 302 Found\r\nlocation: https://x/\r\n\r\n", "status 302", id="a redirect"),
        pytest.param(b"SSH-2.0-x\r\n\r\n", "not HTTP", id="another protocol"),
        pytest.param(b"x" * 20000, "not HTTP", id="an endless head"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nmore", "not HTTP", id="more than a head"),
        pytest.param(b"", "closed the connection", id="nothing"),
    ],
)
async def test_a_proxy_that_makes_no_tunnel_is_told(
    files: Files, door: FakeHttpProxy, pair: Path, answer: bytes, words: str
) -> None:
    door.answer = answer
    async with behind(files, door, pair, f"https://{NAME}/v1") as running:
        told = await chat(running.port)
    assert (told.status, told.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert words in told.json["message"]
    assert "HTTP proxy" in told.json["message"]


async def test_a_proxy_that_is_not_there_is_told(files: Files, pair: Path) -> None:
    async with behind(files, FakeHttpProxy(port=1), pair, f"https://{NAME}/v1") as running:
        told = await chat(running.port)
    assert (told.status, "refused" in told.json["message"]) == (503, True)


async def test_what_is_called_without_it_goes_by_its_address(
    files: Files, door: FakeHttpProxy, upstream: FakeUpstream, pair: Path
) -> None:
    async with behind(files, door, pair, upstream.base, leave="local") as running:
        assert (await chat(running.port)).status == 200
        files.config([target(f"https://localhost:{upstream.port}/v1")])
        files.policy(upstream_leave="public", version="p2")
        running.tick()
        await asyncio.sleep(1.2)
        assert "loopback" in (await chat(running.port)).json["message"]
    assert not door.tunnels


@pytest.mark.parametrize(
    ("host", "listed", "proxied"),
    [
        pytest.param("api.openai.com", "", True, id="a vendor"),
        pytest.param("api.openai.com", "openai.com", False, id="below a listed name"),
        pytest.param("api.openai.com", ".openai.com", False, id="with a dot"),
        pytest.param("api.openai.com", "*.openai.com", False, id="with a star"),
        pytest.param("openai.com", "a, OpenAI.com b", False, id="one of several"),
        pytest.param("notopenai.com", "openai.com", True, id="a name that only ends alike"),
        pytest.param("api.openai.com", "*", False, id="all"),
        pytest.param("10.1.2.3", "10.0.0.0/8", False, id="in a range"),
        pytest.param("10.1.2.3", "10.1.2.3", False, id="an address"),
        pytest.param("10.1.2.3", "11.0.0.0/8,x", True, id="in no range"),
        pytest.param("fd00::1", "fd00::/8", False, id="IPv6"),
        pytest.param("127.0.0.1", "", False, id="this machine"),
        pytest.param("vllm", "", False, id="a Service of this namespace"),
        pytest.param("vllm.models.svc", "", False, id="a Service"),
        pytest.param("vllm.models.svc.cluster.local", "", False, id="a Service in full"),
        pytest.param("api.openai.com.", "openai.com", False, id="with a trailing dot"),
    ],
)
def test_who_is_called_through_it(host: str, listed: str, proxied: bool) -> None:
    assert HttpProxy("proxy", 3128, parse_direct(listed)).serves(host) is proxied


def test_where_a_pod_learns_who_it_is_lies_on_this_side() -> None:
    settings = ProxySettings.from_environ(
        {"MODEL_SERVING_ROOT": "/x", "MODEL_SERVING_UPSTREAM_PROXY": "http://proxy.corp:3128",
         "MODEL_SERVING_UPSTREAM_NO_PROXY": "corp, 10.0.0.0/8"}
    )  # fmt: skip
    way = settings.upstream.proxy
    assert way is not None
    assert (way.host, way.port, way.direct) == ("proxy.corp", 3128, ("corp", "10.0.0.0/8"))
    assert not way.serves("metadata.google.internal", "identity")
    assert way.serves("metadata.google.internal", "public"), "to be refused there by its name"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param("http://me:sk-test-canary@proxy:3128", "credentials", id="credentials"),
        pytest.param("https://proxy:3128", "http://HOST:PORT", id="TLS within TLS"),
        pytest.param("socks5://proxy:1080", "http://HOST:PORT", id="another protocol"),
        pytest.param("proxy:3128", "http://HOST:PORT", id="no scheme"),
        pytest.param("http://proxy:99999", "", id="no port"),
    ],
)
def test_a_setting_that_cannot_be_ends_the_start(value: str, words: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_SERVING_UPSTREAM_PROXY") as caught:
        ProxySettings.from_environ({"MODEL_SERVING_ROOT": "/x", "MODEL_SERVING_UPSTREAM_PROXY": value})
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)
