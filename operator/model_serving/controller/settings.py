"""The operator's settings, from its environment. Read once at start by `operator.py`; a bad one ends the start."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import SplitResult, urlsplit

from model_serving.kube.issuers.settings import IssuerSetting, parse_issuers, quoted

PREFIX = "MODEL_SERVING_"
TOKEN_SERVICES = ("AWS_ENDPOINT_URL_STS", "AZURE_AUTHORITY_HOST")
"""In place of the clouds' public ones, by the names that the clouds' own tools have."""
TUNABLE = (
    "FIRST_BYTE_SECONDS", "STREAM_IDLE_SECONDS", "MAX_IN_FLIGHT", "MAX_CONNECTIONS", "MAX_BUFFERED_BYTES", "WORKERS",
    "UPSTREAM_MAX_CONNECTIONS", "UPSTREAM_MAX_WAITING", "UPSTREAM_WAIT_SECONDS", "UPSTREAM_CONNECT_SECONDS",
    "UPSTREAM_CA_FILE", "ACCESS_LOG", *TOKEN_SERVICES,
)  # fmt: skip
"""Settings of proxies that an admin may choose, without their prefix."""
STORE_SCHEMES = ("valkey", "valkeys", "redis", "rediss")
STORE_PORT = 6379
NAMESPACE_PLACE = "{namespace}"


class SettingsError(Exception):
    """Settings that cannot be used; the text names each with the remedy, one per line."""


def _text(value: str) -> str:
    return value


def _words(value: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", value) if word)


def _tuned(value: str) -> tuple[str, ...]:
    found = _words(value)
    for word in found:
        name, _, text = word.partition("=")
        if name not in TUNABLE or not text:
            raise ValueError(f"set it to NAME=VALUE, several separated by commas, with names of {', '.join(TUNABLE)}")
        _check_tuned(name, text)
    return found


def _check_tuned(name: str, value: str) -> None:
    """What proxies would refuse at their start ends the operator's: no endpoint is rolled to find out."""
    if name == "ACCESS_LOG" and value.lower() not in ("on", "off"):
        raise ValueError("set ACCESS_LOG to on or off")
    if name in TOKEN_SERVICES and not re.fullmatch(r"https://[A-Za-z0-9.-]+(:443)?/?", value):
        raise ValueError(f"set {name} to https://HOST: proxies may call port 443")
    if name.endswith("_SECONDS") and not re.fullmatch(r"[0-9]+(\.[0-9]*)?", value):
        raise ValueError(f"set {name} to a number of seconds")
    if name.startswith(("MAX_", "WORKERS", "UPSTREAM_MAX_")) and not re.fullmatch(r"0*[1-9][0-9]*", value):
        raise ValueError(f"set {name} to a whole number above 0")


def _flag(value: str) -> bool:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError("set it to true or false")


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if value.isascii() and value.isdigit() and least <= int(value) <= most:
            return int(value)
        raise ValueError(f"set it to a whole number from {least} to {most}")

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value in words:
            return value
        raise ValueError(f"set it to one of {', '.join(words)}")

    return parse


def _url(value: str) -> SplitResult:
    parts = urlsplit(value)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("set the port to a number from 0 to 65535") from None
    return parts


def _store(value: str) -> str:
    parts = _url(value)
    if parts.scheme not in STORE_SCHEMES or not parts.hostname or parts.password or parts.query or parts.fragment:
        raise ValueError("write it valkey://HOST:PORT/DB, or valkeys:// for TLS, without a password")
    if not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError("the path after the host is the number of a database, such as /0")
    return value


def _collector(value: str) -> str:
    parts = _url(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("write it http://HOST:4318, or https://, without a password")
    return value


def _http_proxy(value: str) -> str:
    parts = _url(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("write it without credentials: let the proxy know this cluster by its addresses")
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("write it http://HOST:PORT; what passes through is encrypted all the same")
    return value


def _external(value: str) -> str:
    example = value.replace(NAMESPACE_PLACE, "x")
    parts = _url(example)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("write it https://HOST or https://HOST/PATH, without user and password")
    if parts.query or parts.fragment or re.search(r"[{}\s?#]", example):
        raise ValueError(f"write it without query and fragment; {NAMESPACE_PLACE} is the only placeholder")
    return value.rstrip("/")


def external_base(settings: Settings, namespace: str) -> str:
    """Where the front door of a namespace answers from outside; empty: the admin has not said."""
    return settings.external_url.replace(NAMESPACE_PLACE, namespace)


def own_ports(settings: Settings) -> list[int]:
    """The ports of what the admin has for all endpoints: the limits' common store, the HTTP proxy, the collector of
    traces."""
    found = set()
    if settings.limits_store:
        found.add(urlsplit(settings.limits_store).port or STORE_PORT)
    if settings.upstream_proxy:
        found.add(urlsplit(settings.upstream_proxy).port or 80)
    if settings.traces_endpoint:
        url = urlsplit(settings.traces_endpoint)
        found.add(url.port or (443 if url.scheme == "https" else 80))
    return sorted(found)


def _setting(parse: Callable[[str], Any], default: Any) -> Any:
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is the environment variable `MODEL_SERVING_` + its name in capitals; durations are seconds."""

    image: str = _setting(_text, "")
    """The image of the proxies; empty: the operator's own (`own_image.py`)."""
    image_pull_policy: str = _setting(_one_of("Always", "IfNotPresent", "Never"), "IfNotPresent")
    image_pull_secrets: tuple[str, ...] = _setting(_words, ())
    namespaces: tuple[str, ...] = _setting(_words, ())
    """The namespaces that are served; none named: all."""
    operator_namespace: str = _setting(_text, "model-serving-system")
    """Where the operator runs and keeps its Lease."""
    identity: str = _setting(_text, "model-serving-operator")
    """Who holds the Lease: the pod's name."""
    cluster_domain: str = _setting(_text, "cluster.local")
    external_url: str = _setting(_external, "")
    """Where clients outside reach the workspace's front door; `{namespace}` stands for the endpoint's. Empty: the
    status tells the address of the endpoint's Service."""
    manage_access: bool = _setting(_flag, True)
    """Whether `spec.access` also becomes Roles on the object."""
    network_policies: bool = _setting(_flag, True)
    """Whether endpoints get a NetworkPolicy."""
    limits_store: str = _setting(_store, "")
    """The Valkey or Redis in which an endpoint's proxies count limits together; empty: each counts its share."""
    upstream_proxy: str = _setting(_http_proxy, "")
    """The HTTP proxy through which providers are called: http://HOST:PORT; empty: directly."""
    upstream_no_proxy: tuple[str, ...] = _setting(_words, ())
    """The hosts that are called without it: names with all below them, addresses, ranges."""
    traces_endpoint: str = _setting(_collector, "")
    """Where proxies send traces, by OTLP over HTTP; empty: nowhere."""
    traces_percent: int = _setting(_whole(0, 100), 100)
    """How many of the calls whose client has not decided are traced."""
    drain_delay_seconds: int = _setting(_whole(0, 600), 10)
    """How long a proxy still accepts calls after it was told to stop."""
    max_request_seconds: int = _setting(_whole(1, 3600), 300)
    """The longest call or stream; a stopping proxy waits so long for its last one."""
    progress_deadline_seconds: int = _setting(_whole(5, 3600), 120)
    secret_grace_seconds: int = _setting(_whole(0, 3600), 90)
    min_ready_seconds: int = _setting(_whole(0, 300), 0)
    """How long a new proxy must be ready before an old one goes; its readiness alone is evidence enough by default."""
    run_as_user: int = _setting(_whole(0, 2**31 - 1), 65532)
    """The user that proxies run as; 0: left out, for platforms that assign one."""
    issuers: tuple[IssuerSetting, ...] = _setting(parse_issuers, ())
    """Whose tokens callers may show besides those of the cluster's ServiceAccounts: a YAML list."""
    issuers_renew_seconds: int = _setting(_whole(5, 86400), 600)
    """How often the issuers' keys are read anew."""
    proxy_settings: tuple[str, ...] = _setting(_tuned, ())
    """Settings that proxies get in their environment, as NAME=VALUE without prefix."""
    workers: int = _setting(_whole(1, 200), 20)
    full_pass_seconds: int = _setting(_whole(10, 86400), 600)
    """How often every object is compared with what it should be, though no event asked for it."""
    stuck_after_seconds: int = _setting(_whole(30, 3600), 300)
    """A queue whose head waits longer is stuck: liveness fails."""
    lease_seconds: int = _setting(_whole(5, 300), 15)
    """How long a Lease holds without being renewed."""
    health_port: int = _setting(_whole(0, 65535), 8081)
    log_format: str = _setting(_one_of("text", "json"), "text")
    log_level: str = _setting(_one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")


def from_environ(environ: Mapping[str, str]) -> Settings:
    """The settings that the environment holds. Raises `SettingsError` that names every bad one."""
    values: dict[str, Any] = {}
    complaints: list[str] = []
    for item in fields(Settings):
        name = PREFIX + item.name.upper()
        text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            complaints.append(f"{name}: {error}, not {quoted(text)}")
    settings = Settings(**values)
    if settings.min_ready_seconds >= settings.progress_deadline_seconds:
        complaints.append(f"{PREFIX}MIN_READY_SECONDS: set it below {PREFIX}PROGRESS_DEADLINE_SECONDS")
    if complaints:
        raise SettingsError("\n".join(complaints))
    return settings
