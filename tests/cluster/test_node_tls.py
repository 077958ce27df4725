"""TLS on the data port with real pods: a Secret that comes late, calls over https, a certificate that is replaced."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from openai import OpenAI

from tests.cluster import samples
from tests.cluster.installed import PROVIDER, Installed, is_current, reason
from tests.proxy.certificates import Pair, make_pair

CHAT = samples.config(samples.model("demo-chat", "chat", PROVIDER))
SECRET = "web-tls"
KUBELET_SECONDS = 120


@pytest.fixture(scope="module")
def space(installed: Installed) -> str:
    return installed.namespace("tls")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    folder: Path = tmp_path_factory.mktemp("pairs")
    return make_pair(folder, "first"), make_pair(folder, "second")


def put(installed: Installed, space: str, certificate: Pair, key: Pair) -> None:
    values = {"tls.crt": certificate.certificate.decode(), "tls.key": key.key.decode()}
    installed.create(samples.secret(space, values, SECRET) | {"type": "kubernetes.io/tls"})


def trusting(*pairs: Pair) -> ssl.SSLContext:
    """Trusts these certificates alone; the tests call the Service by its address, which they do not name."""
    context = ssl.create_default_context(cadata="".join(pair.certificate.decode() for pair in pairs))
    context.check_hostname = False
    return context


def address(installed: Installed, space: str, name: str) -> tuple[str, int]:
    url = urlsplit(installed.cluster.service_url(name, space, port=443))
    return str(url.hostname), 443


def served_by(installed: Installed, space: str, name: str, *pairs: Pair) -> str:
    """Whose certificate a new connection gets."""
    plain = socket.create_connection(address(installed, space, name), timeout=10)
    with trusting(*pairs).wrap_socket(plain, server_hostname="localhost") as secure:
        found: Any = secure.getpeercert()
        return str(dict(part[0] for part in found["subject"])["commonName"])


def pods(installed: Installed, space: str) -> set[tuple[str, int]]:
    return {
        (p["metadata"]["uid"], sum(c["restartCount"] for c in p["status"]["containerStatuses"]))
        for p in installed.pods(space, "secure")
    }


def test_an_endpoint_waits_for_its_certificate_and_then_serves_https(
    installed: Installed, space: str, pairs: tuple[Pair, Pair]
) -> None:
    installed.create(samples.endpoint("secure", space, CHAT, proxy={"tls": {"secretName": SECRET}}))
    waiting = installed.until(space, "secure", lambda e: reason(e) == "SecretNotFound", 60, "lacks its certificate")
    message = samples.condition(waiting)["message"]
    assert SECRET in message
    assert "tls.crt" in message or "tls.key" in message

    put(installed, space, pairs[0], pairs[0])
    ready = installed.ready(space, "secure", KUBELET_SECONDS)
    assert ready["status"]["url"] == "https://secure.tls.svc.cluster.local/serving-endpoints/secure/invocations"
    service = installed.cluster.get("service", "secure", space) or {}
    assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("https", 443)]

    host, port = address(installed, space, "secure")
    with httpx.Client(verify=trusting(pairs[0]), timeout=60) as http:
        base = f"https://{host}:{port}/serving-endpoints"
        client = OpenAI(base_url=base, api_key=samples.CALLER_KEY, max_retries=0, http_client=http)
        messages: Any = [{"role": "user", "content": "hello there"}]
        whole = client.chat.completions.create(model="secure", messages=messages)
        assert whole.choices[0].message.content == "You said: hello there"
        assert len(list(client.chat.completions.create(model="secure", messages=messages, stream=True))) > 2


def test_a_new_certificate_is_served_without_a_restart_and_a_bad_one_never(
    installed: Installed, space: str, pairs: tuple[Pair, Pair]
) -> None:
    installed.ready(space, "secure", KUBELET_SECONDS)
    before = pods(installed, space)
    assert served_by(installed, space, "secure", *pairs) == "first"
    put(installed, space, pairs[1], pairs[1])
    installed.annotate(space, "secure", reload="1")
    installed.cluster.wait_for(
        lambda: served_by(installed, space, "secure", *pairs) == "second", KUBELET_SECONDS, "the new certificate"
    )

    put(installed, space, pairs[0], pairs[1])
    installed.annotate(space, "secure", reload="2")
    bad = installed.until(
        space, "secure", lambda e: is_current(e, "CertificateCurrent", "False"), KUBELET_SECONDS, "reports the bad pair"
    )
    assert "tls.key is not the key of the certificate" in samples.condition(bad, "CertificateCurrent")["message"]
    assert is_current(bad, "Ready")
    assert served_by(installed, space, "secure", *pairs) == "second"

    put(installed, space, pairs[1], pairs[1])
    installed.annotate(space, "secure", reload="3")
    installed.until(space, "secure", lambda e: is_current(e, "CertificateCurrent"), KUBELET_SECONDS, "is good again")
    assert pods(installed, space) == before
