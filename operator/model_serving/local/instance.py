"""The proxy process of one revision of an endpoint, and what it says of itself. Called by `proxies.py`."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from model_serving.api.conditions import Cause, Reason
from model_serving.lifecycle.observed import Finding
from model_serving.lifecycle.proxy_config import build_proxy_config
from model_serving.lifecycle.revision import Revision
from model_serving.local.child import Child, Lines, Program
from model_serving.local.folder import write_private
from model_serving.local.secret_files import secret_exists
from model_serving.local.supervised import Hooks, Supervised
from model_serving.proxy_config import CREDENTIAL_MISSING, CredentialReport, Layout, ProxyStatus

_ASK_SECONDS = 2.0
_SILENCE_SECONDS = 10.0
"""How long a proxy may leave questions unanswered before it counts as not ready."""


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """What all proxies of one endpoint have in common."""

    arguments: Sequence[str]
    environ: Mapping[str, str]
    router_key: str
    folder: Path
    """Of the endpoint, below the state folder."""
    secrets: Path
    """Of the endpoint's namespace."""
    log: Path
    lines: Lines | None = None
    """Takes their access logs."""


class Instance:
    """One proxy process, started again whenever it ends, until `retire`."""

    def __init__(self, plan: ProxyPlan, revision: Revision, hooks: Hooks) -> None:
        self.revision = revision
        self.status: ProxyStatus | None = None
        self._plan = plan
        # A folder of its own: a namesake may still be on its way out.
        self._root = plan.folder / f"{revision.name}-{secrets.token_hex(3)}"
        self._asked_at = time.monotonic()
        self._answered_at = 0.0
        self._was_ready = False
        self._lay_out()
        environ = {**plan.environ, "MODEL_SERVING_ROOT": str(self._root)}
        greet = Hooks(lambda child: child.tell({"router_key": plan.router_key}), hooks.wake)
        self._process = Supervised(Program(plan.arguments, environ, plan.log, plan.lines), greet)

    @property
    def child(self) -> Child | None:
        """The process while it listens."""
        return self._process.child

    @property
    def ready(self) -> bool:
        """Whether it answers calls with its revision, by its own word."""
        return self.child is not None and self.status is not None and self.status.ready and not self.status.draining

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Asks the process how it is; the answer stands in `status`."""
        child = self.child
        if child is None:
            self.status = None
            return
        url = f"http://127.0.0.1:{child.admin_port}/status"
        try:
            async with session.get(url, timeout=aiohttp.ClientTimeout(total=_ASK_SECONDS)) as answer:
                self.status = msgspec.json.decode(await answer.read(), type=ProxyStatus)
                self._answered_at = time.monotonic()
                self._was_ready |= self.ready
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            if child is not self.child or time.monotonic() - self._answered_at > _SILENCE_SECONDS:
                self.status = None

    def waits_longer_than(self, seconds: float) -> bool:
        """Whether it has never been ready, and for so long."""
        return not self._was_ready and time.monotonic() - self._asked_at > seconds

    def findings(self) -> tuple[Finding, ...]:
        """Why it is not ready, most telling first."""
        if self.ready:
            return ()
        if self.status is None:
            words = self._process.last_words
            return (Finding(Cause.PROXY_CRASH_LOOPING, f"the proxy ended: {words}"),) if words else ()
        return findings_of(self.status, self._plan.secrets)

    async def retire(self) -> None:
        """Lets the process finish its calls, waits for its end and clears up."""
        await self._process.stop()
        await asyncio.to_thread(shutil.rmtree, self._root, True)

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def _lay_out(self) -> None:
        """The root folder: a config of its own, the policy and the Secrets shared with the endpoint's other proxies."""
        layout = Layout(self._root)
        write_private(layout.config, msgspec.json.encode(build_proxy_config(self.revision)))
        _link(layout.policy.parent, self._plan.folder / "policy")
        _link(layout.secrets, self._plan.secrets)
        layout.api_keys.mkdir(mode=0o700, exist_ok=True)


def findings_of(status: ProxyStatus, secrets: Path) -> tuple[Finding, ...]:
    """What a proxy that is not ready says of itself, most telling first; `secrets` is its namespace's folder."""
    found = [_lack(report, secrets) for report in status.credentials if report.problem]
    # Without its Secret a token cannot be fetched; and a proxy lists all that among its problems too.
    found = found or [Finding(Cause.TOKEN_NOT_FETCHED, f"{t.name}: {t.problem}") for t in status.tokens if t.problem]
    return tuple(found) or tuple(Finding(Cause.NOT_READY, text) for text in status.problems)


def _lack(report: CredentialReport, secrets: Path) -> Finding:
    if not secret_exists(secrets.parent, (secrets.name, report.secret)):
        where = f"with the key {report.key}, to a file given with -f, or as a scope through REST"
        text = f"Secret {report.secret} does not exist: add it, {where}"
    elif report.problem == CREDENTIAL_MISSING:
        text = f"Secret {report.secret} has no key {report.key}: add it where the Secret was made"
    else:
        text = f"correct the key {report.key} of Secret {report.secret}, which is {report.problem}"
        return Finding(Cause.SECRET_INVALID, text)
    return Finding(Reason.SECRET_NOT_FOUND, text)


def _link(path: Path, target: Path) -> None:
    if path.is_symlink() and path.readlink() == target:
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target, target_is_directory=True)
