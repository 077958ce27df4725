"""Gateways written in Rust that come as wheels or build from their crate."""

from __future__ import annotations

from pathlib import Path

from tests.bench import cache
from tests.bench.peers.base import Peer, Place, Say
from tests.bench.workload import MODEL, OPENAI, Speech

_KEY = "sk-bench"


def _get_vllm_router(store: Path, say: Say) -> Path:
    return cache.virtualenv("vllm-router", "vllm-router", store, say) / "vllm-router"


def _get_smg(store: Path, say: Say) -> Path:
    return cache.virtualenv("smg", "smg", store, say) / "smg"


def _get_liter_llm(store: Path, say: Say) -> Path:
    return cache.crate("liter-llm-cli", store, say) / "liter-llm"


def _routing(program: Path, place: Place, *command: str) -> list[str]:
    """Both speak the same options."""
    return [
        str(program), *command, "--host", "127.0.0.1", "--port", str(place.port), "--log-level", "error",
        "--worker-urls", f"http://127.0.0.1:{place.provider}", "--policy", "round_robin",
        "--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.spare),
    ]  # fmt: skip


VLLM_ROUTER = Peer(
    "vllm-router",
    "no keys, no limits, no usage",
    _get_vllm_router,
    lambda program, at: _routing(program, at),
    lambda: OPENAI,
)
SMG = Peer("smg", "no keys, no limits", _get_smg, lambda program, at: _routing(program, at, "launch"), lambda: OPENAI)


_CONFIG = """
[general]
master_key = "sk-master"
[security]
outbound_policy = "off"
[[models]]
name = "{model}"
provider_model = "openai/{model}"
api_key = "sk-provider"
base_url = "{base}"
[[keys]]
key = "{key}"
models = ["{model}"]
rpm = 1000000000
"""


def _liter_llm(program: Path, place: Place) -> list[str]:
    config = place.folder / "liter-llm-proxy.toml"
    config.write_text(_CONFIG.format(model=MODEL, base=place.base, key=_KEY))
    at = ["--host", "127.0.0.1", "--port", str(place.port), "--tokio-worker-threads", "1"]
    return [str(program), "api", "--config", str(config), *at]


LITER_LLM = Peer(
    "liter-llm",
    "one key with a limit of calls, usage",
    _get_liter_llm,
    _liter_llm,
    lambda: Speech(OPENAI.path, MODEL, (_KEY,)),
)
