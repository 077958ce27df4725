"""The one list of what the resource can say and this release does not do.

`lifecycle/decide.py` turns the first entry into `Stalled/NotSupported`: nothing is accepted that is not done. A release
that learns something shortens the list. Every provider that is not retired is one of the data plane's registry.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_serving.api.config import ServedEntity
from model_serving.api.endpoint import EndpointSpec
from model_serving.api.external_model import AmazonBedrockConfig, ExternalModel, Provider, Task

RETIRED = {
    Provider.PALM: "Google has retired the PaLM API: use google-cloud-vertex-ai with a Gemini model",
}
"""Providers that Databricks still names and whose vendor serves nobody any more, with what to do instead."""
SUPPORTED_PROVIDERS = tuple(provider for provider in Provider if provider not in RETIRED)
_BEDROCK_EMBEDDINGS = ("amazon", "cohere")


def not_supported(spec: EndpointSpec) -> list[tuple[str, str]]:
    """Each field of `spec` that is not done, in YAML spelling below `spec`, with what to do instead."""
    return [*_config(spec), *_proxy(spec)]


def _config(spec: EndpointSpec) -> Iterator[tuple[str, str]]:
    for index, entity in enumerate(spec.config.served_entities):
        yield from _entity(f"config.servedEntities[{index}]", entity)


def _entity(path: str, entity: ServedEntity) -> Iterator[tuple[str, str]]:
    model = entity.external_model
    if model is None:
        yield f"{path}.entityName", "foundation models are not supported yet: use an externalModel"
        return
    if model.provider in RETIRED:
        yield f"{path}.externalModel.provider", RETIRED[model.provider]
    yield from _vendors_offer(f"{path}.externalModel", model)


def _vendors_offer(path: str, model: ExternalModel) -> Iterator[tuple[str, str]]:
    """Tasks that a provider offers for some of its models only."""
    block = model.block
    if isinstance(block, AmazonBedrockConfig) and model.task == Task.EMBEDDINGS:
        maker = block.bedrock_provider.lower()
        if maker not in _BEDROCK_EMBEDDINGS:
            names = " or ".join(_BEDROCK_EMBEDDINGS)
            yield f"{path}.amazonBedrockConfig.bedrockProvider", f"{maker} has no embeddings on Bedrock: use {names}"
    if model.provider == Provider.GOOGLE_CLOUD_VERTEX_AI:
        yield from _vertex_offers(path, model)


def _vertex_offers(path: str, model: ExternalModel) -> Iterator[tuple[str, str]]:
    publisher, slash, _ = model.name.removeprefix("publishers/").partition("/")
    if slash and publisher not in ("google", "anthropic", "projects"):
        yield f"{path}.name", f"models of {publisher} are not called through Vertex AI's own APIs: use provider custom"
    elif "claude-" in model.name and model.task != Task.CHAT:
        yield f"{path}.task", f"Claude serves {Task.CHAT} alone on Vertex AI: use that task, or a model of Google"


def _proxy(spec: EndpointSpec) -> Iterator[tuple[str, str]]:
    if spec.proxy.autoscaling is not None:
        yield "proxy.autoscaling", "autoscaling is not supported yet: set proxy.replicas, or scale the endpoint"
