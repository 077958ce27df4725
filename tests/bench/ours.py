"""Our own targets: the proxy with all that it does for a call, and the same behind the router."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from model_serving.proxy_config import CredentialFile, Grant, Layout, Limit, Policy, ProxyConfig
from model_serving.proxy_config import Target as Upstream
from tests.bench.machine import on_core
from tests.bench.targets import Target, started, wait_for_answer
from tests.bench.workload import ENDPOINT, KEYS
from tests.proxy.processes import Child, start

FEATURES = "API key, CAN_QUERY, calls per minute of endpoint and user, credential, model name, usage, metrics"
_COMMAND = "from model_serving.cli import main; main(['{name}'])"
_ROUTER_KEY = "key-between-router-and-proxy"
_GRANTS = [Grant("group", "callers", "CAN_QUERY")]
_NEVER_REACHED = 1_000_000_000
LIMITS = (Limit("endpoint", _NEVER_REACHED), Limit("user", _NEVER_REACHED))


@dataclass(frozen=True, slots=True)
class Features:
    """What the measured proxy does for each call, beyond what it always does."""

    limits: tuple[Limit, ...] = LIMITS


EVERYTHING = Features()


@contextlib.contextmanager
def proxy(folder: Path, core: int, provider: int) -> Iterator[Target]:
    """A proxy in front of the provider."""
    began = time.monotonic()
    with _proxy(folder, core, provider) as child:
        wait_for_answer("proxy", child.port, child.log, child.process.poll)
        yield started("proxy", child.port, [child.process.pid], began)


@contextlib.contextmanager
def routed(folder: Path, core: int, provider: int) -> Iterator[Target]:
    """A router in front of a proxy, both on one core; calls come to the router."""
    began = time.monotonic()
    with _proxy(folder, core, provider) as behind, _start("router", folder, core) as front:
        behind.tell({"router_key": _ROUTER_KEY})
        front.tell({"router_key": _ROUTER_KEY, "table": _table(behind.port), "users": _users()})
        wait_for_answer("router + proxy", front.port, front.log, front.process.poll)
        yield started("router + proxy", front.port, [front.process.pid, behind.process.pid], began)


def _proxy(folder: Path, core: int, provider: int) -> Child:
    root = folder / "root"
    write_files(root, f"http://127.0.0.1:{provider}/v1")
    return _start("proxy", folder, core, ROOT=str(root))


def _start(name: str, folder: Path, core: int, **settings: str) -> Child:
    with on_core(core):
        return start(_COMMAND.format(name=name), folder / f"{name}.log", DRAIN_DELAY_SECONDS="0", **settings)


def write_files(root: Path, base: str, features: Features = EVERYTHING) -> None:
    """The files of a proxy whose only target is the provider at `base`."""
    layout = Layout(root)
    credential = CredentialFile("vendor", "token")
    upstream = Upstream(
        entity="model",
        provider="openai",
        task="llm/v1/chat",
        model="provider-model",
        settings={"openai_api_base": base},
        credentials={"openai_api_key": credential},
    )
    config = ProxyConfig(endpoint=ENDPOINT, config_version=1, revision="bench", targets=[upstream])
    policy = Policy(version="1", limits=list(features.limits), grants=_GRANTS, upstream_leave="local")
    files = {
        layout.config: msgspec.json.encode(config),
        layout.policy: msgspec.json.encode(policy),
        layout.credential(credential): b"sk-provider",
    }
    for digest, user in _users().items():
        files[layout.api_keys / digest] = json.dumps(user).encode()
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _users() -> dict[str, dict[str, object]]:
    return {
        hashlib.sha256(f"key-{number}".encode()).hexdigest(): {"principal": f"user-{number}", "groups": ["callers"]}
        for number in range(KEYS)
    }


def _table(port: int) -> dict[str, dict[str, object]]:
    grants = [msgspec.to_builtins(grant) for grant in _GRANTS]
    return {ENDPOINT: {"addresses": [f"127.0.0.1:{port}"], "state": "ready", "grants": grants}}
