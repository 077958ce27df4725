"""TLS towards upstreams: verified, by name."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from model_serving.proxy.http.pool import PoolSettings
from tests.fakes.upstream import FakeUpstream
from tests.proxy.harness import Files, chat, proxy, target


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for `localhost`, and a server's context with it."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


TRUSTED = pytest.param("localhost", True, "", id="a trusted certificate of this name")
UNKNOWN = pytest.param("localhost", False, "certificate", id="an unknown certificate")
MISNAMED = pytest.param("127.0.0.1", True, "certificate", id="a certificate of another name")


@pytest.mark.parametrize(("host", "trusted", "words"), [TRUSTED, UNKNOWN, MISNAMED])
async def test_only_a_verified_upstream_gets_the_credential(
    files: Files, tls: tuple[Path, ssl.SSLContext], host: str, trusted: bool, words: str
) -> None:
    certificate, context = tls
    async with FakeUpstream(tls=context) as upstream:
        files.usual(upstream.base)
        files.config([target(f"https://{host}:{upstream.port}/v1")])
        with pytest.MonkeyPatch.context() as patch:
            if trusted:
                patch.setenv("SSL_CERT_FILE", str(certificate))
            async with proxy(files) as running:
                answer = await chat(running.port)
        assert answer.status == (503 if words else 200)
        if words:
            assert words in answer.json["message"]
            assert upstream.requests == []


async def test_an_authority_of_ones_own_is_trusted_where_the_settings_name_it(
    files: Files, tls: tuple[Path, ssl.SSLContext]
) -> None:
    certificate, context = tls
    async with FakeUpstream(tls=context) as upstream:
        files.usual(f"https://localhost:{upstream.port}/v1")
        async with proxy(files, upstream=PoolSettings(ca_file=str(certificate))) as running:
            assert (await chat(running.port)).status == 200


async def test_plain_http_on_an_https_url_is_503(files: Files) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    files.usual(f"https://127.0.0.1:{port}/v1")
    async with proxy(files) as running:
        answer = await chat(running.port)
    server.close()
    assert (answer.status, answer.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert "TLS" in answer.json["message"]
