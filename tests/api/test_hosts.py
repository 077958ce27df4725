"""Classes of upstream hosts; `tests/cases/*/host-*` try the same at an API server."""

import pytest

from model_serving.api.hosts import URL_FIELDS, HostClass, Leave, classify, refusal


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.openai.com", HostClass.PUBLIC),
        ("api.openai.com.", HostClass.PUBLIC),
        ("8.8.8.8", HostClass.PUBLIC),
        ("[2606:4700::1111]", HostClass.PUBLIC),
        ("localhosts.example.com", HostClass.PUBLIC),
        ("metadata.example.com", HostClass.PUBLIC),
        ("localhost", HostClass.LOOPBACK),
        ("LOCALHOST.", HostClass.LOOPBACK),
        ("x.localhost", HostClass.LOOPBACK),
        ("localhost.localdomain", HostClass.LOOPBACK),
        ("ip6-loopback", HostClass.LOOPBACK),
        ("127.0.0.1", HostClass.LOOPBACK),
        ("127.255.255.254.", HostClass.LOOPBACK),
        ("[::1]", HostClass.LOOPBACK),
        ("0.0.0.0", HostClass.NEVER),
        ("[::]", HostClass.NEVER),
        ("169.254.169.254", HostClass.NEVER),
        ("[fe80::1]", HostClass.NEVER),
        ("[fd00:ec2::254]", HostClass.NEVER),
        ("[fd00:ec2::23]", HostClass.NEVER),
        ("100.100.100.200", HostClass.NEVER),
        ("168.63.129.16", HostClass.NEVER),
        ("255.255.255.255", HostClass.NEVER),
        ("[64:ff9b::a9fe:a9fe]", HostClass.NEVER),
        ("[2002:7f00:1::]", HostClass.NEVER),
        ("metadata", HostClass.NEVER),
        ("metadata.google.internal", HostClass.NEVER),
        ("instance-data.ec2.internal", HostClass.NEVER),
        ("kubernetes", HostClass.NEVER),
        ("kubernetes.default", HostClass.NEVER),
        ("kubernetes.default.svc.cluster.local", HostClass.NEVER),
        ("10.0.0.1", HostClass.PRIVATE),
        ("172.16.0.1", HostClass.PRIVATE),
        ("172.32.0.1", HostClass.PUBLIC),
        ("192.168.1.1", HostClass.PRIVATE),
        ("100.64.0.1", HostClass.PRIVATE),
        ("[fd12::1]", HostClass.PRIVATE),
        ("vllm", HostClass.PRIVATE),
        ("vllm.models.svc", HostClass.PRIVATE),
        ("vllm.models.svc.cluster.local", HostClass.PRIVATE),
        ("nas.home.arpa", HostClass.PRIVATE),
        ("2130706433", HostClass.MALFORMED),
        ("0x7f.0.0.1", HostClass.MALFORMED),
        ("0x7F000001", HostClass.MALFORMED),
        ("0177.0.0.1", HostClass.MALFORMED),
        ("127.1", HostClass.MALFORMED),
        ("1.2.3.4.5", HostClass.MALFORMED),
        ("300.1.1.1", HostClass.MALFORMED),
        ("[::ffff:127.0.0.1]", HostClass.MALFORMED),
        ("[::ffff:7f00:1]", HostClass.MALFORMED),
        ("[fe80::1%25eth0]", HostClass.MALFORMED),
    ],
)
def test_classes(host: str, expected: HostClass) -> None:
    assert classify(host) is expected


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://api.openai.com/v1", ("public", "private", "local")),
        ("http://api.openai.com/v1", ("private", "local")),
        ("https://10.0.0.1/v1", ("private", "local")),
        ("http://vllm:8000/v1", ("private", "local")),
        ("http://127.0.0.1:8090/v1", ("local",)),
        ("http://[::1]:8090/v1", ("local",)),
        ("http://169.254.169.254/latest", ()),
        ("https://2130706433/v1", ()),
    ],
)
def test_leaves(url: str, allowed: tuple[Leave, ...]) -> None:
    leaves: tuple[Leave, ...] = ("public", "private", "local")

    assert tuple(leave for leave in leaves if refusal(url, leave) is None) == allowed


def test_every_url_field_of_a_provider_is_known() -> None:
    assert len(URL_FIELDS) == 8
    assert all(field.endswith(("_base", "_url")) for _, field in URL_FIELDS)
