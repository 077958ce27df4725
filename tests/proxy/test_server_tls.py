"""TLS on the data port: what handshakes get, live replacement, bad pairs, and clients that speak something else."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model_serving.proxy.http import server as http_server
from model_serving.proxy.tls import ServerTls
from model_serving.proxy_config import Layout
from tests.fakes.upstream import FakeUpstream
from tests.proxy.certificates import Pair, encrypted, make_pair
from tests.proxy.harness import MESSAGES, Answer, Files, Running, call, proxy, read_answer, request_bytes, until

EP = "/serving-endpoints/ep/invocations"
SECRET = "web-tls"
JUNK = b"no PEM at all"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    folder = tmp_path_factory.mktemp("pairs")
    return make_pair(folder, "first"), make_pair(folder, "second")


def put(files: Files, pair: Pair) -> None:
    files.secret(pair.certificate.decode(), SECRET, "tls.crt")
    files.secret(pair.key.decode(), SECRET, "tls.key")


def trusting(*pairs: Pair) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata="".join(pair.certificate.decode() for pair in pairs))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


class Client:
    """A connection over TLS that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext) -> Client:
        opened = asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        return cls(*await asyncio.wait_for(opened, 10))

    @property
    def handshake(self) -> Any:
        return self.writer.get_extra_info("ssl_object")

    @property
    def served_by(self) -> str:
        subject = self.handshake.getpeercert()["subject"]
        return str(dict(part[0] for part in subject)["commonName"])

    async def chat(self, **fields: Any) -> Answer:
        self.writer.write(request_bytes("POST", EP, json.dumps({"messages": MESSAGES} | fields).encode()))
        return await read_answer(self._reader)


async def status(running: Running) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (await call(running.admin_port, "/status")).json
    return found


def problems_of(files: Files) -> list[str]:
    tls = ServerTls(SECRET, Layout(files.root))
    tls.refresh(1.0)
    return [report.problem for report in tls.reports()]


async def test_calls_and_streams_pass_over_tls(files: Files, upstream: FakeUpstream, pairs: tuple[Pair, Pair]) -> None:
    files.usual(upstream.base)
    put(files, pairs[0])
    async with proxy(files, tls_secret=SECRET) as running:
        client = await Client.connect(running.port, trusting(pairs[0]))
        assert (client.handshake.version(), client.handshake.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        for stream in (False, True, False):
            answer = await client.chat(stream=stream)
            assert answer.status == 200
            assert (b"[DONE]" in answer.body) == stream
        big = await client.chat(padding="x" * 2_000_000)
        assert big.status == 200
        assert (await status(running))["ready"]


async def test_a_new_pair_serves_new_handshakes_and_open_connections_go_on(
    files: Files, upstream: FakeUpstream, pairs: tuple[Pair, Pair]
) -> None:
    files.usual(upstream.base)
    put(files, pairs[0])
    async with proxy(files, tls_secret=SECRET) as running:
        service: Any = running.service
        before = await Client.connect(running.port, trusting(*pairs))
        put(files, pairs[1])
        service.state.tls.refresh(2.0)
        after = await Client.connect(running.port, trusting(*pairs))
        assert (before.served_by, after.served_by) == ("first", "second")
        assert [(await client.chat()).status for client in (before, after)] == [200, 200]


async def test_a_bad_new_pair_keeps_the_old_one_and_is_reported(
    files: Files, upstream: FakeUpstream, pairs: tuple[Pair, Pair]
) -> None:
    files.usual(upstream.base)
    put(files, pairs[0])
    async with proxy(files, tls_secret=SECRET) as running:
        files.secret(pairs[1].certificate.decode(), SECRET, "tls.crt")
        service: Any = running.service
        service.state.tls.refresh(2.0)
        client = await Client.connect(running.port, trusting(*pairs))
        assert client.served_by == "first"
        assert (await client.chat()).status == 200
        found = await status(running)
        assert found["ready"]
        assert any("tls.key" in problem and "not the key of" in problem for problem in found["problems"])
        put(files, pairs[1])
        service.state.tls.refresh(3.0)
        assert (await Client.connect(running.port, trusting(*pairs))).served_by == "second"
        assert not (await status(running)).get("problems")


async def test_without_a_certificate_the_proxy_is_not_ready_and_names_what_is_missing(
    files: Files, upstream: FakeUpstream, pairs: tuple[Pair, Pair]
) -> None:
    files.usual(upstream.base)
    files.secret(pairs[0].certificate.decode(), SECRET, "tls.crt")
    async with proxy(files, tls_secret=SECRET) as running:
        page = await call(running.admin_port, "/readyz")
        assert (page.status, b"the key tls.key of Secret web-tls is missing" in page.body) == (503, True)
        reports = {report["key"]: report.get("problem") for report in (await status(running))["credentials"]}
        assert (reports["tls.crt"], reports["tls.key"]) == (None, "missing")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Client.connect(running.port, trusting(*pairs))
        put(files, pairs[0])
        service: Any = running.service
        await until(lambda: service.state.ready)
        assert (await (await Client.connect(running.port, trusting(*pairs))).chat()).status == 200


CERTIFICATE, KEY = "not a certificate in PEM format", "not a private key in PEM format"


@pytest.mark.parametrize(
    ("certificate", "key", "problems"),
    [
        pytest.param("own", "own", ["", ""], id="a good pair"),
        pytest.param("own", "other", ["", "not the key of the certificate in tls.crt"], id="another pair's key"),
        pytest.param(JUNK, "own", [CERTIFICATE, ""], id="a certificate that is none"),
        pytest.param(b"", "own", [CERTIFICATE, ""], id="an empty certificate"),
        pytest.param(b"\xff\xfe", "own", [CERTIFICATE, ""], id="a binary certificate"),
        pytest.param("key", "own", [CERTIFICATE, ""], id="a key in the place of the certificate"),
        pytest.param("own", JUNK, ["", KEY], id="a key that is none"),
        pytest.param("own", b"", ["", KEY], id="an empty key"),
        pytest.param("own", "certificate", ["", KEY], id="a certificate in the place of the key"),
        pytest.param("own", "encrypted", ["", "encrypted: store it without a passphrase"], id="an encrypted key"),
        pytest.param(None, "own", ["missing", ""], id="no certificate"),
        pytest.param("own", None, ["", "missing"], id="no key"),
        pytest.param(None, None, ["missing", "missing"], id="no Secret"),
    ],
)
def test_what_is_wrong_with_a_pair_is_said_of_the_right_file(
    files: Files, pairs: tuple[Pair, Pair], certificate: Any, key: Any, problems: list[str]
) -> None:
    own, other = pairs
    known = {
        "own": own, "other": other, "key": Pair(own.key, own.key), "certificate": Pair(own.key, own.certificate),
        "encrypted": Pair(own.certificate, encrypted(own.key)),
    }  # fmt: skip
    folder = files.root / "secrets" / SECRET
    folder.mkdir(parents=True)
    for name, asked in (("tls.crt", certificate), ("tls.key", key)):
        pair = known.get(asked) if isinstance(asked, str) else None
        content = asked if pair is None else pair.certificate if name == "tls.crt" else pair.key
        if content is not None:
            (folder / name).write_bytes(content)
    assert problems_of(files) == problems


@pytest.mark.parametrize(
    "version", [pytest.param(ssl.TLSVersion.TLSv1_2, id="1.2"), pytest.param(ssl.TLSVersion.TLSv1_3, id="1.3")]
)
async def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy(
    files: Files, upstream: FakeUpstream, pairs: tuple[Pair, Pair], version: ssl.TLSVersion
) -> None:
    files.usual(upstream.base)
    put(files, pairs[0])
    context = trusting(pairs[0])
    context.minimum_version = context.maximum_version = version
    async with proxy(files, tls_secret=SECRET) as running:
        client = await Client.connect(running.port, context)
        assert client.handshake.cipher()[0].startswith(("ECDHE-", "TLS_"))
        assert (await client.chat()).status == 200


def weak(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")


def old(context: ssl.SSLContext) -> None:
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize("change", [pytest.param(weak, id="no forward secrecy"), pytest.param(old, id="TLS 1.1")])
async def test_what_is_not_safe_is_refused(
    files: Files, upstream: FakeUpstream, pairs: tuple[Pair, Pair], change: Any
) -> None:
    files.usual(upstream.base)
    put(files, pairs[0])
    context = trusting(pairs[0])
    change(context)
    async with proxy(files, tls_secret=SECRET) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Client.connect(running.port, context)
        assert (await (await Client.connect(running.port, trusting(pairs[0]))).chat()).status == 200


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", id="plain HTTP"),
        pytest.param(b"\x16\x03\x01\x00\x05hello", id="half a handshake that is none"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_who_does_not_finish_a_handshake_is_closed_in_time(
    files: Files,
    upstream: FakeUpstream,
    pairs: tuple[Pair, Pair],
    said: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "HANDSHAKE_SECONDS", 0.5)
    files.usual(upstream.base)
    put(files, pairs[0])
    async with proxy(files, tls_secret=SECRET) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(said)
        try:
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            answer = b""
        assert not answer.startswith(b"HTTP")
        writer.close()
        assert not running.service.data.connections
        assert (await (await Client.connect(running.port, trusting(pairs[0]))).chat()).status == 200


async def test_the_kubelets_way_of_writing_is_seen(files: Files, pairs: tuple[Pair, Pair]) -> None:
    """Keys are links into a folder that is replaced as a whole, by renaming one link."""
    folder = files.root / "secrets" / SECRET
    folder.mkdir(parents=True)

    def lay(name: str, pair: Pair) -> None:
        (folder / name).mkdir()
        (folder / name / "tls.crt").write_bytes(pair.certificate)
        (folder / name / "tls.key").write_bytes(pair.key)
        (folder / "..new").symlink_to(name)
        (folder / "..new").rename(folder / "..data")

    lay("..1", pairs[0])
    for key in ("tls.crt", "tls.key"):
        (folder / key).symlink_to(Path("..data") / key)
    tls = ServerTls(SECRET, Layout(files.root))
    tls.refresh(1.0)
    assert tls.loaded
    lay("..2", pairs[1])
    tls.refresh(60.0)
    assert [report.loaded_at for report in tls.reports()] == ["1970-01-01T00:01:00+00:00"] * 2
