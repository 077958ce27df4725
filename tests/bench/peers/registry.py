"""All peers, by name."""

from __future__ import annotations

from tests.bench.peers.envoy import ENVOY, ENVOY_FILTERS
from tests.bench.peers.litellm import LITELLM
from tests.bench.peers.mlflow import MLFLOW
from tests.bench.peers.nginx import NGINX
from tests.bench.peers.rust import LITER_LLM, SMG, VLLM_ROUTER

PEERS = {peer.name: peer for peer in (NGINX, ENVOY, ENVOY_FILTERS, VLLM_ROUTER, LITER_LLM, SMG, MLFLOW, LITELLM)}
QUICK = ("nginx", "Envoy")
"""Those of a run that names none."""

ABSENT = {
    "agentgateway": "there is no crate of this name, and the package of this name is another program",
    "TensorZero": "its gateway is neither a crate nor in its wheel",
    "Envoy AI Gateway, Bifrost, one-api": "the Go module proxy that was asked does not hand out their modules",
}
"""Gateways that were looked for and cannot be had by package name, with the reason."""
