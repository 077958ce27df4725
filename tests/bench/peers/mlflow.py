"""MLflow's gateway: the open one nearest to Databricks."""

from __future__ import annotations

from pathlib import Path

from tests.bench import cache
from tests.bench.peers.base import Peer, Place, Say
from tests.bench.workload import ENDPOINT, MODEL, Speech

_CONFIG = """
endpoints:
  - name: {endpoint}
    endpoint_type: llm/v1/chat
    model:
      provider: openai
      name: {model}
      config: {{openai_api_key: sk-provider, openai_api_base: "{base}"}}
"""


def _get(store: Path, say: Say) -> Path:
    return cache.virtualenv("mlflow", "mlflow[gateway]", store, say) / "mlflow"


def _command(program: Path, place: Place) -> list[str]:
    config = place.folder / "config.yaml"
    config.write_text(_CONFIG.format(endpoint=ENDPOINT, model=MODEL, base=place.base))
    at = ["--host", "127.0.0.1", "--port", str(place.port)]
    return [str(program), "gateway", "start", "--config-path", str(config), *at, "--workers", "1"]


MLFLOW = Peer(
    "MLflow gateway",
    "no keys, no limits, its default log",
    _get,
    _command,
    lambda: Speech("/v1/chat/completions", ENDPOINT),
    slow=True,
)
