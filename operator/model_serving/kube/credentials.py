"""Bearer tokens for the API server: fixed, from a file that changes, or from an exec plugin.

Used by `kube/session.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

_EXEC_SECONDS = 60.0
_EARLY = timedelta(seconds=60)


class CredentialsError(Exception):
    """A token could not be had; the text says from where and why, never the token."""


class Credentials(Protocol):
    """Where tokens come from."""

    async def token(self, *, renew: bool = False) -> str:
        """The token to present, empty for none. `renew`: the last one was refused, get another if there can be one."""


class StaticCredentials:
    """A token that never changes, or none."""

    def __init__(self, token: str = "") -> None:
        self._token = token

    async def token(self, *, renew: bool = False) -> str:
        """The token."""
        return self._token


class FileCredentials:
    """A token in a file, read again whenever the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    async def token(self, *, renew: bool = False) -> str:
        """The token as the file holds it now."""
        try:
            # `stat` follows the symbolic links by which the kubelet swaps mounted files.
            stat = self._path.stat()
            seen = stat.st_mtime_ns, stat.st_size, stat.st_ino
            if renew or seen != self._seen:
                self._token = self._path.read_text().strip()
                self._seen = seen
        except OSError as error:
            if not self._token:
                raise CredentialsError(f"reading the token from {self._path}: {error}") from None
        return self._token


class ExecCredentials:
    """A kubeconfig's exec plugin (client.authentication.k8s.io), run again when its token has expired."""

    def __init__(self, spec: Mapping[str, Any], base: Path) -> None:
        self._spec = spec
        self._base = base
        self._token = ""
        self._expires: datetime | None = None
        self._lock = asyncio.Lock()

    async def token(self, *, renew: bool = False) -> str:
        """The plugin's token."""
        refused = self._token if renew else None
        async with self._lock:
            expired = self._expires is not None and datetime.now(UTC) >= self._expires - _EARLY
            if not self._token or expired or self._token == refused:
                self._remember(await self._run())
        return self._token

    def _remember(self, status: Mapping[str, Any]) -> None:
        self._token = str(status.get("token") or "")
        if not self._token:
            raise CredentialsError(f"running {self._spec.get('command')}: it gave no token")
        until = status.get("expirationTimestamp")
        self._expires = datetime.fromisoformat(until) if until else None

    async def _run(self) -> Mapping[str, Any]:
        command = str(self._spec.get("command", ""))
        # As kubectl does it: a path is relative to the kubeconfig, a bare name is searched for.
        program = str(self._base / command) if "/" in command else command
        environ = {**os.environ, **{e["name"]: e["value"] for e in self._spec.get("env") or []}}
        environ["KUBERNETES_EXEC_INFO"] = json.dumps(
            {"apiVersion": self._spec.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
        )
        try:
            process = await asyncio.create_subprocess_exec(
                program, *(self._spec.get("args") or []), env=environ, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await asyncio.wait_for(process.communicate(), _EXEC_SECONDS)
            status = json.loads(output).get("status") if process.returncode == 0 else None
        except (OSError, TimeoutError, ValueError, AttributeError) as error:
            raise CredentialsError(f"running {command} for a token: {type(error).__name__}") from None
        if not isinstance(status, dict):
            raise CredentialsError(f"running {command} for a token: it ended with {process.returncode} and no status")
        return status
