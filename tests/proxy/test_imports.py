"""The data plane stands alone: what it may import, and that nothing heavy comes with it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from model_serving.proxy.providers.registry import PROVIDERS

PROXY = Path(__file__).parents[2] / "operator/model_serving/proxy"
ALLOWED = {"msgspec", "httptools", "uvloop", *sys.stdlib_module_names}
OWN = (
    "model_serving.proxy.", "model_serving.bearer", "model_serving.host_names", "model_serving.proxy_config",
    "model_serving.usage_record",
)  # fmt: skip
SIGNATURES = "tokens/signature.py"
"""The one file that knows the library of signatures; it is loaded with the first token."""
ASSERTIONS = "credentials/assertion.py"
"""The one file that signs JWTs, by the same library; it is loaded with the first token for a Google key."""
TRACES = "otel.py"
"""The one file that knows OpenTelemetry; it is loaded where traces are asked for."""
PURE = (
    "sse.py", "limits.py", "routing.py", "access.py", "call.py", "usage.py", "hosts.py", "router.py", "providers/",
    "provider_errors.py",
    "tokens/compact.py", "tokens/claims.py",
)  # fmt: skip
IMPURE = {"asyncio", "socket", "time", "random", "os", "uvloop", "ssl"}


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


REGISTRY = "model_serving.proxy.providers.registry"
VENDORS = ("ai21labs", "anthropic", "bedrock", "cohere", "gemini", "vertex")
NEEDED = {
    "ai21labs": {"ai21labs"},
    "anthropic": {"anthropic"},
    "amazon-bedrock": {"anthropic", "bedrock"},
    "cohere": {"cohere"},
    "google-cloud-vertex-ai": {"anthropic", "gemini", "vertex"},
}
"""Whose code a provider needs: Bedrock and Vertex AI serve Claude, too."""
MODULES = sorted(PROXY.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PROXY)))
def test_only_the_chosen_libraries_are_imported(path: Path) -> None:
    name = str(path.relative_to(PROXY))
    allowed = ALLOWED | {SIGNATURES: {"jwt"}, ASSERTIONS: {"jwt"}, TRACES: {"opentelemetry"}}.get(name, set())
    strangers = {n for n in imported(path) if not n.startswith(OWN) and n.partition(".")[0] not in allowed}
    assert not strangers - {"model_serving"}, "model_serving itself only has the version"
    if name.startswith(PURE):
        assert not imported(path) & IMPURE, "a pure room reads no clock, no socket and no environment"


def loaded_by(program: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"], capture_output=True)
    return set(done.stdout.decode().split())


def test_a_running_proxy_has_loaded_neither_pydantic_nor_a_kubernetes_client() -> None:
    loaded = loaded_by("import model_serving.proxy.app, model_serving.proxy.router_app")
    assert "model_serving.proxy.app" in loaded
    assert not loaded & {"pydantic", "kopf", "kubernetes", "aiohttp", "httpx", "yaml", "jwt", "cryptography"}
    assert not any(name.startswith(("opentelemetry", "prometheus_client")) for name in loaded)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_proxy_holds_the_code_of_its_own_provider_alone(name: str) -> None:
    loaded = loaded_by(
        f"import model_serving.proxy.app as a; a.Pipeline; from {REGISTRY} import *; PROVIDERS[{name!r}]"
    )
    own = {part for part in loaded if part.startswith("model_serving.proxy.providers.")}
    assert own, "it was loaded"
    assert {vendor for vendor in VENDORS if any(f".{vendor}" in module for module in own)} <= NEEDED.get(name, set())
