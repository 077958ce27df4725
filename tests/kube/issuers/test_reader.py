"""Documents of issuers are read over HTTPS alone, within bounds."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from model_serving.kube.issuers.reader import ReadError, read_json
from tests.proxy.certificates import make_pair


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """A server with TLS: its base URL, and the certificate that it shows."""
    pair = make_pair(tmp_path, "issuer")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/big":
            return web.Response(body=b'"' + b"x" * 600_000 + b'"')
        if request.path == "/moved":
            raise web.HTTPFound("/keys")
        if request.path == "/keys":
            return web.json_response({"keys": [1]})
        return web.Response(text="{" if request.path == "/bad" else "", status=200 if request.path == "/bad" else 404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "issuer.crt", tmp_path / "issuer.key")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://localhost:{runner.addresses[0][1]}", pair.certificate.decode()
    await runner.cleanup()


async def test_documents_are_read_from_servers_that_show_the_right_certificate(site: tuple[str, str]) -> None:
    base, authority = site
    assert await read_json(f"{base}/keys", authority) == {"keys": [1]}
    with pytest.raises(ReadError, match="ertificate"):
        await read_json(f"{base}/keys")


@pytest.mark.parametrize(
    ("path", "words"), [("/big", "larger than"), ("/moved", "302"), ("/none", "404"), ("/bad", "reading")]
)
async def test_other_answers_are_refused(site: tuple[str, str], path: str, words: str) -> None:
    base, authority = site
    with pytest.raises(ReadError, match=words):
        await read_json(base + path, authority)


async def test_plain_http_is_never_asked() -> None:
    with pytest.raises(ReadError, match="https://"):
        await read_json("http://127.0.0.1:1/keys")
