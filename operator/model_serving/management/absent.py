"""Routes of Databricks for what is not here: provisioned throughput, stopping. They answer honestly, with the remedy.

Called through `operations.py`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from model_serving.management.access import readable
from model_serving.management.call import Call, Operation
from model_serving.management.endpoints import ENDPOINT, ENDPOINTS
from model_serving.management.errors import InvalidParameter, NotImplementedHere


async def provision(call: Call) -> dict[str, Any]:
    """Provisioned throughput belongs to foundation models."""
    _no_throughput()


async def optimization_info(call: Call) -> dict[str, Any]:
    """So does their optimisation."""
    _no_throughput()


def _no_throughput() -> NoReturn:
    raise NotImplementedHere(
        "provisioned throughput is for foundation models, which are not served here yet: serve the model with a server "
        f"of your own (vLLM, TGI, Ollama) and name it as an external_model of provider custom in POST {ENDPOINTS}"
    )


async def stop_or_start(call: Call) -> dict[str, Any]:
    """Databricks stops custom models alone."""
    await readable(call.platform, call.caller, call.name)
    raise InvalidParameter(
        f"name: the serving endpoint {call.name} serves an external model, and only custom models are stopped and "
        "started: set a rate limit of 0 calls to block it, or delete it"
    )


OPERATIONS = [
    Operation("POST", ENDPOINTS + "/pt", provision, "Not implemented: provisioned throughput"),
    Operation("PUT", ENDPOINTS + "/pt/{name}/config", provision, "Not implemented: provisioned throughput"),
    Operation(
        "GET", ENDPOINTS + "/get-model-optimization-info/{model}/{version}", optimization_info,
        "Not implemented: provisioned throughput",
    ),
    Operation("POST", ENDPOINT + "/config:stop", stop_or_start, "Refused: custom models only"),
    Operation("POST", ENDPOINT + "/config:start", stop_or_start, "Refused: custom models only"),
]  # fmt: skip
