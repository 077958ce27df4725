"""TLS of an endpoint: its URL follows what serves, and a condition tells whether the Secret's certificate is in use."""

from __future__ import annotations

from model_serving.lifecycle.proxy_config import build_proxy_config, secret_files
from model_serving.lifecycle.revision import Shape, serving
from model_serving.proxy_config import CredentialFile, CredentialReport, ProxyStatus
from tests.lifecycle.world import World

PLAIN, TLS = Shape(image="proxy:1"), Shape(image="proxy:1", proxy={"tls": "web-tls"})


def proxy(**problems: str) -> ProxyStatus:
    """A ready proxy; `problems` of its certificate and key."""
    reports = [
        CredentialReport("web-tls", f"tls.{name}", "2026-11-22T12:00:00+00:00", problems.get(name, ""))
        for name in ("crt", "key")
    ]
    return ProxyStatus("chat", "r", 1, True, credentials=reports)


def world(shape: Shape = TLS) -> World:
    return World(shape=shape).served()


def condition(w: World) -> str:
    found = w.condition("CertificateCurrent")
    return f"{found.status} {found.reason} {found.message}" if found else ""


def test_a_revision_mounts_certificate_and_key_beside_the_keys_of_providers() -> None:
    revision = serving(world().history)
    assert revision is not None
    assert secret_files(revision) == {"my-scope": ("openai",), "web-tls": ("tls.crt", "tls.key")}


def test_a_bundle_of_authorities_is_mounted_and_named_in_the_config() -> None:
    authorities = {"secretName": "corp-ca", "key": "ca.crt"}
    revision = serving(world(Shape(image="proxy:1", proxy={"upstreamCa": authorities})).history)
    assert revision is not None
    assert secret_files(revision) == {"corp-ca": ("ca.crt",), "my-scope": ("openai",)}
    assert build_proxy_config(revision).upstream_ca == CredentialFile("corp-ca", "ca.crt")
    plain = serving(world(PLAIN).history)
    assert plain is not None and build_proxy_config(plain).upstream_ca is None


def test_the_url_is_https_once_the_revision_with_tls_serves() -> None:
    w = world(PLAIN)
    assert w.status.url.startswith("http://chat.")
    w.shape = TLS
    w.look()
    assert w.status.url.startswith("http://chat."), "the old pods still serve"
    w.look()
    w.succeed()
    assert w.status.url == "https://chat.gen-ai.svc.cluster.local/serving-endpoints/chat/invocations"


def test_the_address_from_outside_stays_as_the_admin_wrote_it() -> None:
    for url in ("http://models.example.com/x", "https://models.example.com/x"):
        for shape in (PLAIN, TLS):
            w = world(shape)
            w.external_url = url
            w.look()
            assert w.status.url == url, "whatever proxies speak, the front door is called"


def test_the_condition_tells_whether_the_certificate_is_in_use() -> None:
    assert condition(world(PLAIN)) == ""
    w = world()
    assert condition(w) == "", "nobody was asked yet"
    w.says = (proxy(),)
    w.look()
    assert condition(w).startswith("True CertificateLoaded")
    w.says = (proxy(), proxy(key="not the key of the certificate in tls.crt"))
    w.look()
    assert condition(w).startswith("False CertificateInvalid Secret web-tls: tls.key is not the key of the certificate")
    w.says = None
    w.look()
    assert condition(w).startswith("False CertificateInvalid"), "the last word stands while nobody is asked"
    ready = w.condition("Ready")
    assert ready and ready.status == "True", "the former certificate serves"
    w.says = (proxy(),)
    w.look()
    assert condition(w).startswith("True")
