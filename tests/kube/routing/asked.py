"""Which settings the programs of a workspace read: found out by starting them on an environment that remembers."""

from __future__ import annotations

from typing import Any

from model_serving.kube.routing.settings import from_environ
from model_serving.management.process import ManagementSettings
from model_serving.proxy.settings import RouterSettings

PREFIX = "MODEL_SERVING_"
INTERNAL = {"CONTROL_FD", "LISTEN_FD", "ADMIN_FD", "WORKER", "WORKERS", "WORKSPACE_ID", "TRACING"}
"""What only a parent process says, what the namespace says itself, and what acts in proxies alone."""


class Asked(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def names_read(*readers: Any) -> set[str]:
    asked = Asked()
    for read in readers:
        read(asked)
    return {name.removeprefix(PREFIX) for name in asked.names if name.startswith(PREFIX)} - INTERNAL


ROUTER = (RouterSettings.from_environ, from_environ)
MANAGEMENT = (ManagementSettings.from_environ,)
