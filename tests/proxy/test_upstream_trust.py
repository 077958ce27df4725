"""Authorities that an endpoint names for its upstreams: taken over while serving; a bad bundle replaces nothing."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_serving.proxy.http.pool import PoolSettings
from model_serving.proxy_config import CredentialFile
from tests.fakes.upstream import FakeUpstream
from tests.proxy.certificates import Pair, make_pair
from tests.proxy.harness import SECRET, Files, Running, call, chat, proxy, target, until

CA = CredentialFile("corp", "ca.crt")


@dataclass
class Vendor:
    """A certificate of a private authority, and a server's context with it."""

    pair: Pair
    context: ssl.SSLContext


def made(folder: Path, name: str) -> Vendor:
    pair = make_pair(folder, name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return Vendor(pair, context)


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Vendor, Vendor]:
    folder = tmp_path_factory.mktemp("tls")
    return made(folder, "one"), made(folder, "two")


def named(files: Files, port: int) -> None:
    files.config([target(f"https://localhost:{port}/v1")], upstream_ca=CA)
    files.policy()
    files.secret(SECRET)
    files.key()


def ready(running: Running) -> bool:
    return bool(running.service.state.ready)  # type: ignore[attr-defined]


async def problem(running: Running) -> str:
    status = (await call(running.admin_port, "/status")).json
    return str(next(entry for entry in status["credentials"] if entry["secret"] == "corp").get("problem", ""))


async def test_a_bundle_is_awaited_and_then_replaced_while_serving(
    files: Files, vendors: tuple[Vendor, Vendor]
) -> None:
    one, two = vendors
    async with FakeUpstream(tls=one.context) as upstream, FakeUpstream(tls=two.context) as other:
        named(files, upstream.port)
        async with proxy(files) as running:
            assert not ready(running)
            assert await problem(running) == "missing"
            assert "corp" in str((await call(running.admin_port, "/status")).json["problems"])
            assert (await chat(running.port)).status == 503, "who is not vouched for gets no key"
            files.secret("# Ärger GmbH\n" + one.pair.certificate.decode(), "corp", "ca.crt")
            await until(lambda: ready(running))
            assert (await chat(running.port)).status == 200
            for spoilt in ("no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""):
                files.secret(spoilt, "corp", "ca.crt")
                await until(lambda: running.service.state.trust.reports()[0].problem)  # type: ignore[attr-defined]
                assert await problem(running) == "not a bundle of certificates in PEM format"
                assert ready(running), "the former one stays in use"
            files.secret(one.pair.certificate + two.pair.certificate, "corp", "ca.crt")  # type: ignore[arg-type]
            await until(lambda: not running.service.state.trust.reports()[0].problem)  # type: ignore[attr-defined]
            files.config([target(f"https://localhost:{other.port}/v1")], upstream_ca=CA, revision="rev-2")
            await until(lambda: running.service.state.status(0).revision == "rev-2")  # type: ignore[attr-defined]
            assert (await chat(running.port)).status == 200
        assert len(upstream.requests) == len(other.requests) == 1


async def test_a_connection_is_not_used_again_when_other_authorities_count(
    files: Files, vendors: tuple[Vendor, Vendor]
) -> None:
    one, two = vendors
    async with FakeUpstream(tls=one.context) as upstream:
        named(files, upstream.port)
        files.secret(one.pair.certificate.decode(), "corp", "ca.crt")
        async with proxy(files) as running:
            await until(lambda: ready(running))
            assert (await chat(running.port)).status == 200
            files.secret(two.pair.certificate.decode(), "corp", "ca.crt")
            trust = running.service.state.trust  # type: ignore[attr-defined]
            before = trust()
            while trust() is before:  # calls all the while: the connection is never idle for long
                assert (await chat(running.port)).status in (200, 503)
            assert (await chat(running.port)).status == 503


async def test_the_admins_file_counts_besides(files: Files, vendors: tuple[Vendor, Vendor], tmp_path: Path) -> None:
    one, two = vendors
    (tmp_path / "admin.pem").write_bytes(one.pair.certificate)
    files.secret(two.pair.certificate.decode(), "corp", "ca.crt")
    async with FakeUpstream(tls=one.context) as upstream:
        named(files, upstream.port)
        async with proxy(files, upstream=PoolSettings(ca_file=str(tmp_path / "admin.pem"))) as running:
            assert (await chat(running.port)).status == 200


async def test_an_authority_of_another_endpoint_vouches_for_nobody(
    files: Files, vendors: tuple[Vendor, Vendor]
) -> None:
    one, two = vendors
    files.secret(two.pair.certificate.decode(), "corp", "ca.crt")
    async with FakeUpstream(tls=one.context) as upstream:
        named(files, upstream.port)
        async with proxy(files) as running:
            answer = await chat(running.port)
        assert (answer.status, "certificate is not accepted" in answer.json["message"]) == (503, True)
        assert not upstream.requests
