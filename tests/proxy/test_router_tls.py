"""TLS of the router: towards clients from a mounted certificate, towards proxies with or without an authority."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.router_tls import ProxyTls
from model_serving.proxy_config import News
from tests.fakes.upstream import FakeUpstream
from tests.proxy.certificates import Pair, make_pair
from tests.proxy.fronts import AUTH, INVOCATIONS, USER, Feed, ask, entry, fed, management, ready, set_table, told
from tests.proxy.harness import Files, call, read_answer, request_bytes, write


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    folder = tmp_path_factory.mktemp("pairs")
    return make_pair(folder, "first"), make_pair(folder, "second")


def serving(folder: Path, pair: Pair) -> ssl.SSLContext:
    """The server's side of a proxy with this certificate."""
    write(folder / "proxy.crt", pair.certificate)
    write(folder / "proxy.key", pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "proxy.crt", folder / "proxy.key")
    return context


async def test_clients_may_speak_tls_and_the_certificate_is_replaced_while_serving(
    files: Files, upstream: FakeUpstream, pairs: tuple[Pair, Pair]
) -> None:
    feed = Feed(News(table={"ep": entry(upstream.port)}))
    write(files.root / "token", "own")
    files.key(USER)
    settings: dict[str, Any] = {"root": files.root, "token_file": files.root / "token", "tls_secret": "front"}
    async with management() as fake, fed(feed, management=f"127.0.0.1:{fake.port}", **settings) as front:
        assert not await ready(front), "without its certificate no client can come"
        service: Any = front.service
        for pair in pairs:
            write(files.root / "secrets/front/tls.crt", pair.certificate)
            write(files.root / "secrets/front/tls.key", pair.key)
            service._state.refresh(time.time())
            assert await ready(front)
            trust = ssl.create_default_context(cadata=pair.certificate.decode())
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", front.port, ssl=trust, server_hostname="localhost"
            )
            writer.write(request_bytes("POST", INVOCATIONS, b'{"messages": []}', AUTH))
            assert (await read_answer(reader)).status == 200
            writer.write(request_bytes("GET", "/.well-known/databricks-config"))
            assert (await read_answer(reader)).json["oidc_endpoint"] == "https://test/oidc"
            writer.write(request_bytes("GET", "/api/2.0/x", None, {"x-forwarded-proto": "http"}))
            assert (await read_answer(reader)).status == 200
            writer.close()
        assert fake.requests[0].header("x-forwarded-proto") == "https"
        write(files.root / "secrets/front/tls.key", b"broken")
        service._state.refresh(time.time())
        assert await ready(front), "the former one goes on"
        assert (await call(front.admin_port, "/status")).json["problems"]


@pytest.mark.parametrize(
    ("trusted", "server_name", "served"),
    [
        pytest.param(None, "", True, id="no authority: nothing is verified"),
        pytest.param(None, "other", True, id="no authority, whatever the name"),
        pytest.param(0, "localhost", True, id="its authority and its name"),
        pytest.param(1, "localhost", False, id="another authority"),
        pytest.param(0, "other", False, id="another name"),
        pytest.param(0, "", False, id="its address is no name of the certificate"),
    ],
)
async def test_a_proxy_must_show_the_right_certificate_where_there_is_an_authority(
    tmp_path: Path, pairs: tuple[Pair, Pair], trusted: int | None, server_name: str, served: bool
) -> None:
    ca_file = ""
    if trusted is not None:
        write(tmp_path / "ca.crt", pairs[trusted].certificate)
        ca_file = str(tmp_path / "ca.crt")
    async with FakeUpstream(tls=serving(tmp_path, pairs[0])) as proxy, told(proxy_ca_file=ca_file) as front:
        set_table(front, ep=entry(proxy.port, tls=True, server_name=server_name))
        answer = await ask(front)
        assert answer.status == (200 if served else 503)
        assert len(proxy.requests) == served, "nothing is sent to whom is not trusted"


async def test_a_proxy_without_tls_is_not_called_with_it_nor_the_reverse(
    tmp_path: Path, upstream: FakeUpstream, pairs: tuple[Pair, Pair]
) -> None:
    async with FakeUpstream(tls=serving(tmp_path, pairs[0])) as secure, told() as front:
        set_table(front, ep=entry(upstream.port))
        assert (await ask(front)).status == 200
        set_table(front, ep=entry(secure.port, tls=True))
        assert (await ask(front)).status == 200
        set_table(front, ep=entry(secure.port))
        assert (await ask(front)).status == 503


def test_a_new_authority_is_taken_over_and_a_bad_one_is_not(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    write(tmp_path / "ca.crt", pairs[0].certificate)
    tls = ProxyTls(str(tmp_path / "ca.crt"))
    with pytest.raises(OSError, match="not read yet"):
        tls.context()
    tls.refresh()
    first = tls.context()
    assert (first.check_hostname, first.verify_mode) == (True, ssl.CERT_REQUIRED)
    for content in (b"", b"nonsense", "ünïcode".encode()):
        write(tmp_path / "ca.crt", content)
        tls.refresh()
        assert tls.context() is first and tls.problem
    write(tmp_path / "ca.crt", pairs[1].certificate)
    tls.refresh()
    assert tls.context() is not first and not tls.problem


async def test_an_authority_that_is_missing_stops_calls_and_is_named(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    async with (
        FakeUpstream(tls=serving(tmp_path, pairs[0])) as proxy,
        told(proxy_ca_file=str(tmp_path / "none")) as front,
    ):
        set_table(front, ep=entry(proxy.port, tls=True, server_name="localhost"))
        assert (await ask(front)).status == 503
        assert not proxy.requests
        problems = (await call(front.admin_port, "/status")).json["problems"]
        assert any("CA file of proxies" in problem for problem in problems)
