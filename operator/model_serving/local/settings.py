"""The settings of `model-serving run`, and how its children are started. Made by `cli.py`, read by `runner.py`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_serving.lifecycle.observed import Deadlines
from model_serving.local.child import CONTROL_FD, Lines, Program
from model_serving.local.errors import InputError
from model_serving.local.folder import StateFolder
from model_serving.local.sample import DEMO_PORT

DEFAULT_STATE = Path(".model-serving")
_HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH")
_EGRESS = ("MODEL_SERVING_UPSTREAM_PROXY", "MODEL_SERVING_UPSTREAM_NO_PROXY", "MODEL_SERVING_UPSTREAM_CA_FILE")
"""How proxies reach providers from this machine."""
_IDENTITY = (
    "AZURE_AUTHORITY_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)  # fmt: skip
"""Where a workload identity is found (`proxy/credentials/platform.py`): addresses, names and paths, never a key."""
_DRAIN_DELAY = "1"
"""Seconds. The router is told where calls go, nobody has to find out: a moment suffices, on a busy machine too."""
_ROUTER_DRAIN_DELAY = "0.2"
"""Seconds. When the router ends, everything does."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the user of `run` may choose. `grace`: seconds that calls in flight get after Ctrl-C."""

    files: tuple[Path, ...] = ()
    state: Path = DEFAULT_STATE
    host: str = "127.0.0.1"
    port: int = 8080
    users: Path | None = None
    demo: bool = False
    demo_port: int = DEMO_PORT
    json_output: bool = False
    grace: float = 10.0
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def deadlines(self) -> Deadlines:
        """The operator's settings of the same names. Raises `InputError`."""
        return Deadlines(
            progress=self._seconds("MODEL_SERVING_PROGRESS_DEADLINE_SECONDS", 120),
            secret_grace=self._seconds("MODEL_SERVING_SECRET_GRACE_SECONDS", 90),
        )

    def _seconds(self, name: str, default: int) -> int:
        text = self.environ.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 6):
            raise InputError(f"{name} must be a whole number of seconds")
        return int(text)

    @property
    def shown_host(self) -> str:
        """The host as it stands in URLs for this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host


def command(name: str, *options: str) -> tuple[str, ...]:
    """The arguments that start a command of this very installation."""
    return (sys.executable, "-P", "-m", "model_serving.cli", name, *options)


def child_environ(settings: RunSettings, **values: str) -> dict[str, str]:
    """What a child inherits: no key that stands in the shell's environment, but where traces go and the way out."""
    inherited = {name: settings.environ[name] for name in _HANDED_ON + _EGRESS + _IDENTITY if name in settings.environ}
    traces = {name: value for name, value in settings.environ.items() if name.startswith("OTEL_")}
    return {
        **inherited,
        **traces,
        "MODEL_SERVING_ADMIN_PORT": "0",
        "MODEL_SERVING_ADMIN_HOST": "127.0.0.1",
        "MODEL_SERVING_DRAIN_DELAY_SECONDS": _DRAIN_DELAY,
        **{f"MODEL_SERVING_{name}": value for name, value in values.items()},
    }


def workspace_id(folder: StateFolder) -> str:
    """What names this workspace; Terraform wants a number that never changes."""
    return str(int.from_bytes(hashlib.sha256(str(folder.root).encode()).digest()[:6], "big"))


def router_program(settings: RunSettings, folder: StateFolder, door: int, lines: Lines) -> Program:
    """The router, which accepts at the socket with the descriptor `door`; `lines` takes its access log."""
    environ = child_environ(
        settings,
        HOST=settings.host,
        LISTEN_FD=str(door),
        WORKSPACE_ID=workspace_id(folder),
        DRAIN_DELAY_SECONDS=_ROUTER_DRAIN_DELAY,
    )
    return Program(command("router"), environ, folder.logs / "router.log", lines, (door,))


def demo_program(settings: RunSettings, folder: StateFolder, port: int) -> Program:
    """The demo provider."""
    arguments = command("demo-provider", "--port", str(port), "--control-fd", CONTROL_FD)
    return Program(arguments, child_environ(settings), folder.logs / "demo-provider.log")
