"""LiteLLM's proxy: the gateway most people know."""

from __future__ import annotations

from pathlib import Path

from tests.bench import cache
from tests.bench.peers.base import Peer, Place, Say
from tests.bench.workload import ENDPOINT, MODEL, Speech

_KEY = "sk-bench"
_CONFIG = """
model_list:
  - model_name: {endpoint}
    litellm_params: {{model: openai/{model}, api_base: "{base}", api_key: sk-provider}}
litellm_settings: {{telemetry: false}}
general_settings: {{master_key: {key}}}
"""


def _get(store: Path, say: Say) -> Path:
    return cache.virtualenv("litellm", "litellm[proxy]", store, say) / "litellm"


def _command(program: Path, place: Place) -> list[str]:
    config = place.folder / "config.yaml"
    config.write_text(_CONFIG.format(endpoint=ENDPOINT, model=MODEL, base=place.base, key=_KEY))
    return [
        str(program),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(place.port),
        "--num_workers",
        "1",
    ]


LITELLM = Peer(
    "LiteLLM",
    "one key, no database, no limits, its default log",
    _get,
    _command,
    lambda: Speech("/v1/chat/completions", ENDPOINT, (_KEY,)),
    slow=True,
)
