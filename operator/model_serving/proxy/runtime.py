"""Config and policy, compiled into what a call needs. Pure; `state.py` swaps the result in as a whole.

What can be computed once per config is computed here: the heads of requests and answers, who may query, where targets
lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from msgspec import structs

from model_serving.proxy.access import Access
from model_serving.proxy.credentials.scheme import Scheme
from model_serving.proxy.hosts import Leave, scheme_refusal
from model_serving.proxy.http.head import clean_value
from model_serving.proxy.http.pool import Origin
from model_serving.proxy.limits.rules import KEYS, Rules
from model_serving.proxy.providers.base import Dialect, Provider
from model_serving.proxy.providers.registry import PROVIDERS
from model_serving.proxy_config import LimitsStore, Policy, ProxyConfig, Target

USER_AGENT = b"model-serving"


class CompileError(Exception):
    """Config or policy that cannot be served; the text names the field."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go."""

    origin: Origin
    host: str
    path: str
    head: bytes
    """Request line and headers, but for credential and length."""


@dataclass(frozen=True, slots=True)
class CompiledTarget:
    """One upstream, ready to be called."""

    entity: str
    weight: int
    target: Target
    provider: Provider
    dialect: Dialect
    scheme: Scheme
    whole: Place
    stream: Place
    answer_head: bytes
    """The headers that tell clients who answered."""
    refusal: str
    """Why it may not be called under the current policy; empty when it may."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One revision under one policy."""

    config: ProxyConfig
    task: str
    targets: tuple[CompiledTarget, ...]
    config_head: bytes
    policy_version: str
    limits: Rules
    limits_store: LimitsStore | None
    access: Access

    @property
    def endpoint(self) -> str:
        """The name that clients use."""
        return self.config.endpoint

    @property
    def schemes(self) -> Sequence[Scheme]:
        """How the targets show credentials, each once."""
        return list(dict.fromkeys(target.scheme for target in self.targets))

    def places(self) -> dict[Scheme, set[tuple[bool, str, int]]]:
        """Where each scheme's credential is shown."""
        found: dict[Scheme, set[tuple[bool, str, int]]] = {}
        for target in self.targets:
            for place in (target.whole, target.stream):
                found.setdefault(target.scheme, set()).add(place.origin[:3])
        return found


def compile_runtime(config: ProxyConfig, policy: Policy) -> Runtime:
    """Config and policy as one value. CompileError."""
    tasks = {target.task for target in config.targets}
    if len(tasks) != 1:
        raise CompileError("config: all targets must have one task, and there must be at least one")
    try:
        leave = Leave(policy.upstream_leave)
    except ValueError:
        raise CompileError(f"policy: upstream_leave {policy.upstream_leave} is not known") from None
    for limit in policy.limits:
        if limit.key not in KEYS:
            raise CompileError(f"policy: limit key {limit.key} is not known: use one of {', '.join(KEYS)}")
    config_head = b"x-config-version: %d\r\n" % config.config_version
    task = tasks.pop()
    return Runtime(
        config=config,
        task=task,
        targets=tuple(_compile_target(target, leave, config_head) for target in config.targets),
        config_head=config_head,
        policy_version=policy.version,
        limits=Rules(policy.limits, policy.limits_parts, task),
        limits_store=policy.limits_store,
        access=Access(policy.grants),
    )


def moved_schemes(before: Runtime, after: Runtime) -> list[Scheme]:
    """The schemes that both know and whose credentials are now shown at other hosts than before."""
    here, there = before.places(), after.places()
    return [scheme for scheme in there if scheme in here and here[scheme] != there[scheme]]


def shared_among(policy: Policy, workers: int) -> Policy:
    """The policy as one of `workers` processes of a proxy enforces it: each counts as a proxy. CompileError."""
    if workers == 1 or not policy.limits:
        return policy
    parts = policy.limits_parts * workers
    for limit in policy.limits:
        for amount in (limit.calls, limit.tokens):
            if amount and amount < parts and policy.limits_store is None:
                raise CompileError(
                    f"policy: a limit of {amount} cannot be shared among {parts} workers of all proxies: "
                    f"raise it to at least {parts}, or set MODEL_SERVING_WORKERS lower"
                )
    return structs.replace(policy, limits_parts=parts)


def _compile_target(target: Target, leave: Leave, config_head: bytes) -> CompiledTarget:
    provider = PROVIDERS.get(target.provider)
    if provider is None or target.task not in provider.tasks:
        raise CompileError(f"config: target {target.entity}: {target.provider} with {target.task} is not supported")
    try:
        scheme = provider.scheme(target)
        dialect = provider.dialect(target)
        whole = _place(provider, target, leave, b"")
        stream = _place(provider, target, leave, dialect.stream_type)
    except KeyError as error:
        raise CompileError(f"config: target {target.entity}: the setting or credential {error} is missing") from None
    except ValueError as error:
        raise CompileError(f"config: target {target.entity}: {error}") from None
    return CompiledTarget(
        entity=target.entity,
        weight=target.weight,
        target=target,
        provider=provider,
        dialect=dialect,
        scheme=scheme,
        whole=whole,
        stream=stream,
        answer_head=b"served-model-name: %b\r\n" % quote(target.entity, safe=" .:/@+~").encode() + config_head,
        refusal=scheme_refusal(whole.origin.https, leave),
    )


def _place(provider: Provider, target: Target, leave: Leave, stream_type: bytes) -> Place:
    """Where whole answers are asked for, or streams of a type."""
    origin, host, path = split_url(provider.url(target, bool(stream_type)), leave)
    accept = stream_type.decode() + ", application/json" if stream_type else "application/json"
    return Place(origin, host, path, _request_head(host, path, [("accept", accept), *provider.headers(target)]))


def split_url(url: str, leave: Leave) -> tuple[Origin, str, str]:
    """A URL as origin, Host header and path with query. ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the URL must start with https:// and name a host")
    if parts.username is not None or parts.fragment:
        raise ValueError("the URL may hold neither credentials nor a fragment")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (parts.netloc + path).isascii() or any(char <= " " for char in parts.netloc + path):
        raise ValueError("the URL may hold neither blanks nor characters outside ASCII")  # a name has one spelling
    https = parts.scheme == "https"
    origin = Origin(https, parts.hostname, parts.port or (443 if https else 80), leave.value)
    return origin, parts.netloc, path


def _request_head(host: str, path: str, extra: Sequence[tuple[str, str]]) -> bytes:
    lines = [
        b"POST %b HTTP/1.1" % path.encode(),
        b"host: %b" % clean_value(host),
        b"user-agent: " + USER_AGENT,
        b"content-type: application/json",
        b"accept-encoding: identity",
        *(b"%b: %b" % (name.encode(), clean_value(value)) for name, value in extra),
    ]
    return b"\r\n".join(lines) + b"\r\n"
