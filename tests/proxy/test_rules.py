"""The small pure rules: addresses, callers, access, routing, balancing, settings, heads."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_serving.proxy.access import Access
from model_serving.proxy.auth import Principal
from model_serving.proxy.errors import EndpointNotFound, PermissionDenied, Unavailable
from model_serving.proxy.hosts import HostClass, Leave, host_class, refusal, scheme_refusal
from model_serving.proxy.http.head import clean_value, status_line
from model_serving.proxy.router import Balancer
from model_serving.proxy.routing import choose
from model_serving.proxy.runtime import split_url
from model_serving.proxy.settings import ProcessSettings, ProxySettings, RouterSettings, SettingsError
from model_serving.proxy_config import Grant, Target, split_address

PUBLIC, PRIVATE, LOOPBACK, NEVER = HostClass.PUBLIC, HostClass.PRIVATE, HostClass.LOOPBACK, HostClass.NEVER


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", PUBLIC), ("2606:4700::1111", PUBLIC), ("64:ff9b::808:808", PUBLIC),
        ("10.1.2.3", PRIVATE), ("172.31.0.1", PRIVATE), ("192.168.1.1", PRIVATE), ("100.64.0.1", PRIVATE),
        ("fd12::1", PRIVATE), ("::ffff:10.0.0.1", PRIVATE), ("64:ff9b::a00:1", PRIVATE), ("2002:a00:1::", PRIVATE),
        ("127.0.0.1", LOOPBACK), ("127.8.8.8", LOOPBACK), ("::1", LOOPBACK), ("::ffff:127.0.0.1", LOOPBACK),
        ("169.254.169.254", NEVER), ("::ffff:169.254.169.254", NEVER), ("64:ff9b::a9fe:a9fe", NEVER),
        ("2002:a9fe:a9fe::", NEVER), ("fe80::1", NEVER), ("fe80::1%eth0", NEVER), ("fd00:ec2::254", NEVER),
        ("fd00:ec2::23", NEVER), ("fd20:ce::254", NEVER),
        ("100.100.100.200", NEVER), ("168.63.129.16", NEVER), ("0.0.0.0", NEVER), ("::", NEVER),
        ("224.0.0.1", NEVER), ("ff02::1", NEVER), ("255.255.255.255", NEVER), ("240.0.0.1", NEVER),
        ("64:ff9b:1::a00:1", NEVER), ("fec0::1", NEVER), ("::ffff:0:a00:1", NEVER), ("::a00:1", NEVER), ("::2", NEVER),
        ("192.0.2.1", NEVER), ("2001:db8::1", NEVER), ("172.32.0.1", PUBLIC), ("100.128.0.1", PUBLIC),
    ],
)  # fmt: skip
def test_each_address_has_its_class(address: str, kind: HostClass) -> None:
    assert host_class(address) is kind


@pytest.mark.parametrize(
    ("leave", "allowed"),
    [
        (Leave.PUBLIC, {"8.8.8.8"}),
        (Leave.PRIVATE, {"8.8.8.8", "10.0.0.1"}),
        (Leave.LOCAL, {"8.8.8.8", "10.0.0.1", "127.0.0.1"}),
        (Leave.TRUSTED, {"8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.169.254"}),
    ],
)
def test_a_leave_opens_its_classes_and_no_other(leave: Leave, allowed: set[str]) -> None:
    for address in ("8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.169.254"):
        assert (refusal(address, leave) == "") == (address in allowed)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        pytest.param("169.254.169.254", True, id="metadata of Google and Amazon"),
        pytest.param("fd20:ce::254", True, id="Google's over IPv6"),
        pytest.param("fd00:ec2::254", True, id="Amazon's over IPv6"),
        pytest.param("169.254.170.2", True, id="containers of Amazon"),
        pytest.param("169.254.170.23", True, id="EKS Pod Identity"),
        pytest.param("fd00:ec2::23", True, id="the same over IPv6"),
        pytest.param("127.0.0.1", True, id="an agent of this machine"),
        pytest.param("::1", True, id="the same over IPv6"),
        pytest.param("169.254.1.1", False, id="another link-local address"),
        pytest.param("fe80::1", False, id="another one over IPv6"),
        pytest.param("100.100.100.200", False, id="metadata of others"),
        pytest.param("10.0.0.1", False, id="a private address"),
        pytest.param("8.8.8.8", False, id="a public address"),
        pytest.param("0.0.0.0", False, id="no address"),
    ],
)
def test_only_identity_services_are_asked_who_the_pod_is(address: str, allowed: bool) -> None:
    assert (refusal(address, Leave.IDENTITY) == "") is allowed
    assert not scheme_refusal(False, Leave.IDENTITY)


def test_denied_addresses_and_plain_http() -> None:
    for form in ("10.96.0.1", "::ffff:10.96.0.1", "64:ff9b::a60:1", "2002:a60:1::"):
        assert not refusal(form, Leave.PRIVATE)
        assert refusal(form, Leave.PRIVATE, frozenset({"10.96.0.1"}))
    assert scheme_refusal(False, Leave.PUBLIC)
    assert not scheme_refusal(True, Leave.PUBLIC)
    assert not scheme_refusal(False, Leave.PRIVATE)


ADA = Principal("ada", frozenset({"team"}))


@pytest.mark.parametrize(
    ("grants", "allowed"),
    [
        ([], False),
        ([Grant("user", "ada", "CAN_QUERY")], True),
        ([Grant("user", "ada", "CAN_MANAGE")], True),
        ([Grant("user", "ada", "CAN_VIEW")], False),
        ([Grant("group", "team", "CAN_QUERY")], True),
        ([Grant("group", "ada", "CAN_QUERY"), Grant("user", "team", "CAN_QUERY")], False),
    ],
)
def test_can_query_comes_from_users_and_groups(grants: list[Grant], allowed: bool) -> None:
    assert Access(grants).allows(ADA) is allowed
    if not allowed:
        with pytest.raises(PermissionDenied, match=r"ada may not query endpoint ep.*CAN_QUERY"):
            Access(grants).require_query(ADA, "ep")


def targets(*weights: int) -> list[Target]:
    return [Target(f"e{i}", "openai", "t", "m", weight) for i, weight in enumerate(weights)]


@pytest.mark.parametrize(
    ("weights", "lot", "chosen"),
    [((100,), 0.5, "e0"), ((0,), 0.5, "e0"), ((50, 50), 0.49, "e0"), ((50, 50), 0.5, "e1"), ((0, 100), 0.0, "e1"),
     ((100, 0), 0.999, "e0"), ((1, 1, 98), 0.015, "e1")],
)  # fmt: skip
def test_calls_go_by_weight(weights: tuple[int, ...], lot: float, chosen: str) -> None:
    assert choose(targets(*weights), "", lot).entity == chosen


def test_a_named_entity_is_served_whatever_its_weight() -> None:
    assert choose(targets(100, 0), "e1", 0.0).entity == "e1"
    with pytest.raises(EndpointNotFound, match="no served entity x"):
        choose(targets(100), "x", 0.0)
    with pytest.raises(Unavailable):
        choose(targets(0, 0), "", 0.5)


def test_the_balancer_prefers_the_idle_and_takes_turns() -> None:
    balancer = Balancer()
    assert {balancer.pick(["a", "b", "c"]) for _ in range(3)} == {"a", "b", "c"}
    balancer.release("b")
    assert balancer.pick(["a", "b", "c"]) == "b"
    assert balancer.pick(["a"], {"a"}) is None
    assert balancer.pick([]) is None


@pytest.mark.parametrize(("text", "parts"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80))])
def test_addresses_are_split(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize("text", ["", "a", ":80", "a:", "a:b"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(text)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [("https://h/v1", "h", "/v1"), ("http://h:8080", "h:8080", "/"), ("https://[::1]:1/a?b=c", "[::1]:1", "/a?b=c")],
)
def test_urls_are_split(url: str, host: str, path: str) -> None:
    assert split_url(url, Leave.LOCAL)[1:] == (host, path)


NO_URLS = (
    "", "h/v1", "ftp://h", "https://", "https://u:p@h/", "https://h/#x", "https://h:99999/", "https://h/\u00e9",
    "https://h/a b", "https://h\x00/",
    "https://metadata.g\u00baog/",  # `metadata.goog` to who looks it up, and another name to who judges it
)  # fmt: skip


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        split_url(url, Leave.LOCAL)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "MODEL_SERVING_ROOT is missing"),
        ({"MODEL_SERVING_ROOT": "/r", "MODEL_SERVING_PORT": "x"}, "MODEL_SERVING_PORT"),
        ({"MODEL_SERVING_ROOT": "/r", "MODEL_SERVING_PORT": "70000"}, "MODEL_SERVING_PORT"),
        ({"MODEL_SERVING_ROOT": "/r", "MODEL_SERVING_MAX_IN_FLIGHT": "0"}, "MODEL_SERVING_MAX_IN_FLIGHT"),
        ({"MODEL_SERVING_ROOT": "/r", "MODEL_SERVING_DRAIN_DELAY_SECONDS": "-1"}, "DRAIN_DELAY"),
        ({"MODEL_SERVING_ROOT": "/r", "MODEL_SERVING_CONTROL_FD": "three"}, "CONTROL_FD"),
    ],
)
def test_a_bad_setting_is_named(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ProxySettings.from_environ(environment)


def test_settings_have_their_documented_defaults() -> None:
    settings = ProxySettings.from_environ(
        {"MODEL_SERVING_ROOT": "/r", "MODEL_SERVING_DENIED_ADDRESSES": "10.0.0.1, ::1"}
    )
    process = settings.process
    told = ProcessSettings(access_log_fd=1)  # in a process of its own the log is written, in a test's it is not
    assert settings == ProxySettings(Path("/r"), told, denied_addresses=frozenset({"10.0.0.1", "::1"}))
    assert (process.port, process.admin_port, process.control_fd) == (8080, 8081, None)
    assert (process.drain_delay_seconds, process.max_request_seconds) == (10.0, 300.0)
    assert RouterSettings.from_environ({"MODEL_SERVING_CONTROL_FD": "3"}).process.control_fd == 3
    upstream, waits = settings.upstream, (settings.first_byte_seconds, settings.stream_idle_seconds)
    assert (upstream.connections, upstream.waiting, upstream.wait_seconds, upstream.connect_seconds) == (
        1024,
        1024,
        10,
        10,
    )
    assert (waits, process.workers, process.listen_fd, settings.tls_secret) == ((120.0, 120.0), 1, None, "")
    with pytest.raises(SettingsError, match="WORKSPACE_ID"):
        RouterSettings.from_environ({"MODEL_SERVING_WORKSPACE_ID": "x"})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        pytest.param("TLS_SECRET", "../other", "name of a Secret", id="a path in the place of a Secret"),
        pytest.param("UPSTREAM_CA_FILE", "/no/such/file", "cannot be read", id="no file"),
        pytest.param("UPSTREAM_CA_FILE", "/etc/passwd", "no certificates", id="a file without certificates"),
        pytest.param("UPSTREAM_MAX_CONNECTIONS", "0", "above 0", id="no connections"),
        pytest.param("WORKERS", "two", "whole number", id="a word in the place of a number"),
        pytest.param("FIRST_BYTE_SECONDS", "-1", "number of seconds", id="a negative time"),
    ],
)
def test_a_setting_that_cannot_be_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"MODEL_SERVING_{name} .*{words}"):
        ProxySettings.from_environ({"MODEL_SERVING_ROOT": "/r", f"MODEL_SERVING_{name}": value})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        pytest.param("WORKSPACE_ID", "x", "digits", id="a word in the place of the workspace's number"),
        pytest.param("MANAGEMENT", "localhost", "HOST:PORT", id="no port of management"),
        pytest.param("OIDC_ISSUER", "http://login.example", "https://", id="an issuer without TLS"),
        pytest.param("TLS_SECRET", "../other", "name of a Secret", id="a path in the place of a Secret"),
    ],
)
def test_a_setting_of_the_router_that_cannot_be_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"MODEL_SERVING_{name} .*{words}"):
        RouterSettings.from_environ({"MODEL_SERVING_ROOT": "/r", f"MODEL_SERVING_{name}": value})


def test_settings_of_the_router_come_from_the_environment() -> None:
    told = {
        "ROOT": "/r", "TLS_SECRET": "front", "MANAGEMENT": "127.0.0.1:9000", "ROUTER_TOKEN_FILE": "/t/token",
        "PROXY_CA_FILE": "/ca.crt", "STATE_FILE": "/state/copy.json", "OIDC_ISSUER": "https://login.example",
        "WORKSPACE_ID": "7", "HOLD_SECONDS": "30",
    }  # fmt: skip
    settings = RouterSettings.from_environ({f"MODEL_SERVING_{name}": value for name, value in told.items()})
    assert settings == RouterSettings(
        ProcessSettings(access_log_fd=1), "7", 30.0, root=Path("/r"), tls_secret="front", management="127.0.0.1:9000",
        token_file=Path("/t/token"), proxy_ca_file="/ca.crt", state_file=Path("/state/copy.json"),
        oidc_issuer="https://login.example",
    )  # fmt: skip
    with pytest.raises(SettingsError, match="MODEL_SERVING_ROOT is missing"):
        RouterSettings.from_environ({"MODEL_SERVING_TLS_SECRET": "front"})


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0", " a", "a ", "ł", "a\x7f"])
def test_a_value_that_could_leave_its_line_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        clean_value(value)


def test_unknown_statuses_have_a_line_too() -> None:
    assert status_line(529) == b"HTTP/1.1 529 \r\n"
