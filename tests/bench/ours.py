"""Our own targets: the proxy with all that it does for a call, and the same behind the router."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from model_serving.proxy_config import CredentialFile, Grant, Issuer, Layout, Limit, Policy, ProxyConfig
from model_serving.proxy_config import Target as Upstream
from tests.bench import identity
from tests.bench.interpreter import Interpreter, with_sources
from tests.bench.machine import on_core
from tests.bench.targets import Started, Target, answering
from tests.bench.workload import ENDPOINT, MODEL, USERS, Speech
from tests.proxy.processes import Child, launch

_COMMAND = "from model_serving.cli import main; main(['{name}'])"
_ROUTER_KEY = "key-between-router-and-proxy"
_GRANTS = [Grant("group", identity.GROUP, "CAN_QUERY")]
_NEVER_REACHED = 1_000_000_000
CALL_LIMITS = (Limit("endpoint", calls=_NEVER_REACHED), Limit("user", calls=_NEVER_REACHED))
LIMITS = (
    Limit("endpoint", calls=_NEVER_REACHED, tokens=_NEVER_REACHED),
    Limit("user", calls=_NEVER_REACHED, tokens=_NEVER_REACHED),
)


@dataclass(frozen=True, slots=True)
class Features:
    """What the measured proxy does for each call, beyond what it always does."""

    tokens: bool = True
    """Callers show tokens of an issuer (RS256); else API keys."""
    limits: tuple[Limit, ...] = LIMITS
    access_log: bool = True

    @property
    def speech(self) -> Speech:
        """How its callers speak to it."""
        return Speech(tokens=identity.issuer().tokens if self.tokens else KEYS)


EVERYTHING = Features()
DOES = (
    "JWT (RS256, 64 users), CAN_QUERY, limits of calls and tokens for endpoint and user, credential, model name, "
    "usage, metrics, access log"
)
KEYS = tuple(f"key-{number}" for number in range(USERS))


@dataclass(frozen=True, slots=True)
class Stage:
    """Where our processes run: a folder, a core, the provider's port, an interpreter."""

    folder: Path
    core: int
    provider: int
    interpreter: Interpreter


@contextlib.contextmanager
def proxy(
    stage: Stage, name: str = "proxy", features: Features = EVERYTHING, upstream: Upstream | None = None
) -> Iterator[Target]:
    """A proxy in front of the provider."""
    began = time.monotonic()
    with start_proxy(stage, features, upstream) as child:
        yield answering(name, child.port, child.log, Started(child.process, began), features.speech)


@contextlib.contextmanager
def routed(stage: Stage) -> Iterator[Target]:
    """A router in front of a proxy, both on one core; calls come to the router, which knows callers by their keys."""
    began = time.monotonic()
    with start_proxy(stage, EVERYTHING) as behind, _start("router", stage) as front:
        behind.tell({"router_key": _ROUTER_KEY})
        front.tell({"router_key": _ROUTER_KEY, "table": _table(behind.port), "users": _users()})
        both = Started(front.process, began, (behind.process.pid,))
        yield answering("router + proxy", front.port, front.log, both, Speech(tokens=KEYS))


def start_proxy(stage: Stage, features: Features, upstream: Upstream | None = None) -> Child:
    """A proxy as a process, with its files below `root` in the stage's folder. Its upstream speaks OpenAI's API, or
    is the one given, whose credentials lie there already."""
    root = stage.folder / "root"
    write_files(root, upstream or compatible(f"http://127.0.0.1:{stage.provider}/v1"), features)
    return _start("proxy", stage, ROOT=str(root), ACCESS_LOG="on" if features.access_log else "off")


def _start(name: str, stage: Stage, **settings: str) -> Child:
    """A process of ours as the local platform starts it, but with any interpreter."""
    command = [str(stage.interpreter.program), "-c", _COMMAND.format(name=name)]
    with on_core(stage.core):
        child = launch(command, with_sources(), stage.folder / f"{name}.log", {"DRAIN_DELAY_SECONDS": "0"} | settings)
    subprocess.Popen(["cat"], stdin=child.process.stdout, stdout=subprocess.DEVNULL)  # reads the log to its end
    return child


def policy(features: Features = EVERYTHING, **changes: Any) -> Policy:
    """The policy under which everybody of the issuer may query."""
    issuer = Issuer(
        issuer=identity.ISSUER,
        audiences=[identity.AUDIENCE],
        keys=[identity.issuer().public_key],
        groups_claim="groups",
    )
    values: dict[str, Any] = {
        "version": "1",
        "limits": list(features.limits),
        "grants": _GRANTS,
        "upstream_leave": "local",
        "issuers": [issuer] if features.tokens else [],
    }
    return Policy(**(values | changes))


def compatible(base: str) -> Upstream:
    """A provider at `base` that speaks OpenAI's API."""
    return Upstream(
        entity="model",
        provider="openai",
        task="llm/v1/chat",
        model=MODEL,
        settings={"openai_api_base": base},
        credentials={"openai_api_key": CredentialFile("vendor", "token")},
    )


def write_files(root: Path, upstream: Upstream, features: Features = EVERYTHING) -> None:
    """The files of a proxy with this only target."""
    layout = Layout(root)
    config = ProxyConfig(endpoint=ENDPOINT, config_version=1, revision="bench", targets=[upstream])
    write(layout.config, msgspec.json.encode(config))
    write(layout.policy, msgspec.json.encode(policy(features)))
    write(layout.credential(CredentialFile("vendor", "token")), b"sk-provider")
    for digest, user in _users().items():
        write(layout.api_keys / digest, json.dumps(user).encode())


def write(path: Path, content: bytes) -> None:
    """Writes a file the way platforms do: beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(".new")
    unfinished.write_bytes(content)
    unfinished.rename(path)


def _users() -> Mapping[str, dict[str, object]]:
    return {
        hashlib.sha256(key.encode()).hexdigest(): {"principal": f"user-{number}", "groups": [identity.GROUP]}
        for number, key in enumerate(KEYS)
    }


def _table(port: int) -> dict[str, dict[str, object]]:
    grants = [msgspec.to_builtins(grant) for grant in _GRANTS]
    return {ENDPOINT: {"addresses": [f"127.0.0.1:{port}"], "state": "ready", "grants": grants}}
