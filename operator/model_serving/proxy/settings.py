"""Settings of the two processes, read from the environment once, by `cli.py`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from model_serving.proxy.credentials.platform import Platform
from model_serving.proxy.hosts import Leave
from model_serving.proxy.http.pool import PoolSettings
from model_serving.proxy.http.tunnel import HttpProxy, parse_direct
from model_serving.proxy_config import split_address

PREFIX = "MODEL_SERVING_"
_OWN_BYTES = 64 * 1024 * 1024  # what a process needs for itself and for the small things of many calls
_LEAST_BUFFERED_BYTES = 16 * 1024 * 1024
STDOUT = 1
TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's variables that say where traces go: with one of them there are traces."""
T = TypeVar("T")
D = TypeVar("D")


class SettingsError(ValueError):
    """A setting that cannot be; the text names the variable."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What proxy and router have in common. Port 0 picks a free one; times in seconds."""

    host: str = "0.0.0.0"
    port: int = 8080
    admin_port: int = 8081
    drain_delay_seconds: float = 10.0
    max_request_seconds: float = 300.0
    max_in_flight: int = 2048
    max_connections: int = 8192
    max_buffered_bytes: int = 256 * 1024 * 1024
    """What all calls together may hold: bodies, collected answers, and what slow clients have not taken."""
    control_fd: int | None = None
    admin_host: str = ""
    """Where the admin port listens; empty: at `host`."""
    listen_fd: int | None = None
    """A socket that somebody else has bound and listens at, instead of `port`."""
    workers: int = 1
    """Processes that share the port (`workers.py`)."""
    worker: bool = False
    """This is one of them."""
    admin_fd: int | None = None
    """A socket that somebody else has bound, instead of `admin_port`."""
    tracing: bool = False
    access_log_fd: int | None = None
    """Where the access log goes; None: nowhere."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ProcessSettings:
        """The settings of an environment. SettingsError."""
        fd, door, admin = (_read(environ, f"{name}_FD", int, -1) for name in ("CONTROL", "LISTEN", "ADMIN"))
        return cls(
            host=environ.get(PREFIX + "HOST", cls().host),
            port=_read(environ, "PORT", _port, 8080),
            admin_port=_read(environ, "ADMIN_PORT", _port, 8081),
            drain_delay_seconds=_read(environ, "DRAIN_DELAY_SECONDS", _seconds, 10.0),
            max_request_seconds=_read(environ, "MAX_REQUEST_SECONDS", _seconds, 300.0),
            max_in_flight=_read(environ, "MAX_IN_FLIGHT", _count, 2048),
            max_connections=_read(environ, "MAX_CONNECTIONS", _count, 8192),
            max_buffered_bytes=_buffered_bytes(environ),
            control_fd=fd if fd >= 0 else None,
            admin_host=environ.get(PREFIX + "ADMIN_HOST", ""),
            listen_fd=door if door >= 0 else None,
            workers=_read(environ, "WORKERS", _count, 1),
            worker=_read(environ, "WORKER", _switch, False),
            admin_fd=admin if admin >= 0 else None,
            tracing=_read(environ, "TRACING", _switch, any(environ.get(name) for name in TRACE_ENDPOINTS)),
            access_log_fd=STDOUT if _read(environ, "ACCESS_LOG", _switch, True) else None,
        )


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Settings of a proxy. `root` holds its files (`proxy_config.Layout`)."""

    root: Path
    process: ProcessSettings = field(default_factory=ProcessSettings)
    upstream: PoolSettings = field(default_factory=PoolSettings)
    denied_addresses: frozenset[str] = frozenset()
    """Addresses that are never called, such as the API server's."""
    stream_idle_seconds: float = 120.0
    """The longest pause between two pieces of a stream."""
    first_byte_seconds: float = 120.0
    """The longest wait for a stream to begin."""
    tls_secret: str = ""
    """The Secret below `root` whose `tls.crt` and `tls.key` the data port uses; empty: plain HTTP."""
    platform: Platform = field(default_factory=Platform)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ProxySettings:
        """The settings of an environment. SettingsError."""
        root = environ.get(PREFIX + "ROOT")
        if not root:
            raise SettingsError(f"{PREFIX}ROOT is missing: set it to the folder that holds config/ and policy/")
        denied = environ.get(PREFIX + "DENIED_ADDRESSES", "")
        return cls(
            root=Path(root),
            process=ProcessSettings.from_environ(environ),
            upstream=_upstream(environ),
            denied_addresses=frozenset(part.strip() for part in denied.split(",") if part.strip()),
            stream_idle_seconds=_read(environ, "STREAM_IDLE_SECONDS", _seconds, 120.0),
            first_byte_seconds=_read(environ, "FIRST_BYTE_SECONDS", _seconds, 120.0),
            tls_secret=_read(environ, "TLS_SECRET", _secret_name, ""),
            platform=Platform.from_environ(environ),
        )


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Settings of a router. `workspace_id` is the number that clients see as the workspace's."""

    process: ProcessSettings = field(default_factory=ProcessSettings)
    workspace_id: str = "0"
    hold_seconds: float = 60.0
    """How long a call to an endpoint that starts is held."""
    root: Path | None = None
    """Holds API keys and the data port's certificate, if there are any, as in a proxy's folder."""
    tls_secret: str = ""
    """As a proxy's, below `root`."""
    management: str = ""
    """HOST:PORT of the REST API and the pages; empty: there are none until a message says otherwise."""
    token_file: Path | None = None
    """The token that the router shows proxies, re-read when it changes; None: it shows the key of the control pipe."""
    proxy_ca_file: str = ""
    """Authorities of proxies' certificates, in PEM; empty: those are not verified."""
    state_file: Path | None = None
    """Where a copy of the table is kept for restarts; None: nowhere."""
    oidc_issuer: str = ""
    """Where callers get tokens, told to clients that ask; empty: nowhere that is known."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> RouterSettings:
        """The settings of an environment. SettingsError."""
        settings = cls(
            process=ProcessSettings.from_environ(environ),
            workspace_id=_read(environ, "WORKSPACE_ID", _digits, "0"),
            hold_seconds=_read(environ, "HOLD_SECONDS", _seconds, 60.0),
            root=_read(environ, "ROOT", Path, None),
            tls_secret=_read(environ, "TLS_SECRET", _secret_name, ""),
            management=_read(environ, "MANAGEMENT", _address, ""),
            token_file=_read(environ, "ROUTER_TOKEN_FILE", Path, None),
            proxy_ca_file=_read(environ, "PROXY_CA_FILE", str, ""),
            state_file=_read(environ, "STATE_FILE", Path, None),
            oidc_issuer=_read(environ, "OIDC_ISSUER", _issuer, ""),
        )
        if settings.tls_secret and settings.root is None:
            raise SettingsError(
                f"{PREFIX}ROOT is missing: set it to the folder that holds secrets/ with {PREFIX}TLS_SECRET"
            )
        return settings


def _buffered_bytes(environ: Mapping[str, str]) -> int:
    """The setting; without it as much as the container's memory bears: each byte may be held three times over."""
    most = ProcessSettings().max_buffered_bytes
    memory = _read(environ, "MEMORY_LIMIT_BYTES", _count, 0)
    bearable = max((memory - _OWN_BYTES) // 3, _LEAST_BUFFERED_BYTES) if memory else most
    return _read(environ, "MAX_BUFFERED_BYTES", _count, min(bearable, most))


def _upstream(environ: Mapping[str, str]) -> PoolSettings:
    return PoolSettings(
        connections=_read(environ, "UPSTREAM_MAX_CONNECTIONS", _count, 1024),
        waiting=_read(environ, "UPSTREAM_MAX_WAITING", _count, 1024),
        wait_seconds=_read(environ, "UPSTREAM_WAIT_SECONDS", _seconds, 10.0),
        connect_seconds=_read(environ, "UPSTREAM_CONNECT_SECONDS", _seconds, 10.0),
        ca_file=_read(environ, "UPSTREAM_CA_FILE", _certificates, ""),
        proxy=_http_proxy(environ),
    )


def _http_proxy(environ: Mapping[str, str]) -> HttpProxy | None:
    """The HTTP proxy; this machine, the cluster and where pods learn who they are lie on this side of it."""
    place = _read(environ, "UPSTREAM_PROXY", _proxy_url, None)
    direct = _read(environ, "UPSTREAM_NO_PROXY", parse_direct, ())
    inside = frozenset(leave.value for leave in (Leave.IDENTITY, Leave.TRUSTED))
    return HttpProxy(*place, direct, inside) if place is not None else None


def _read(environ: Mapping[str, str], name: str, convert: Callable[[str], T], default: D) -> T | D:
    text = environ.get(PREFIX + name, "").strip()
    if not text:
        return default
    try:
        return convert(text)
    except ValueError as error:
        shown = repr(text) if "@" not in text else "with an @, which is not shown here"
        raise SettingsError(f"{PREFIX}{name} has the value {shown}: {error}") from None


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise ValueError("it must be a port from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise ValueError("it must be a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdigit():
        raise ValueError("it must be a number of seconds")
    return float(text)


def _secret_name(text: str) -> str:
    if "/" in text or text.startswith("."):
        raise ValueError("it must be the name of a Secret")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in ("on", "off"):
        raise ValueError("it must be on or off")
    return text.lower() == "on"


def _certificates(text: str) -> str:
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError:
        raise ValueError("the file holds no certificates in PEM format") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    return text


def _address(text: str) -> str:
    split_address(text)
    return text


def _proxy_url(text: str) -> tuple[str, int]:
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("it must not hold credentials: let the proxy know this cluster by its addresses")
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("it must be http://HOST:PORT; what passes through is encrypted all the same")
    return parts.hostname, parts.port or 80


def _issuer(text: str) -> str:
    if not text.startswith("https://") or not text.isprintable():
        raise ValueError("it must be an address that starts with https://")
    return text


def _digits(text: str) -> str:
    if not text.isdigit():
        raise ValueError("it must consist of digits")
    return text
