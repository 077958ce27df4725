"""The one list of what the resource can say and this release does not do yet.

`lifecycle/decide.py` turns the first entry into `Stalled/NotSupported`: nothing is accepted that is not done. A release
that learns something shortens the list.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_serving.api.config import ServedEntity
from model_serving.api.endpoint import EndpointSpec
from model_serving.api.external_model import OpenaiApiType, OpenaiConfig, Provider

SUPPORTED_PROVIDERS = (Provider.OPENAI, Provider.CUSTOM)
RETIRED = {
    Provider.PALM: "Google has retired the PaLM API: use google-cloud-vertex-ai with a Gemini model",
}
"""Providers that Databricks still names and whose vendor serves nobody any more, with what to do instead."""


def not_supported(spec: EndpointSpec) -> list[tuple[str, str]]:
    """Each field of `spec` that is not done yet, in YAML spelling below `spec`, with what to do instead."""
    return [*_config(spec), *_proxy(spec)]


def _config(spec: EndpointSpec) -> Iterator[tuple[str, str]]:
    for index, entity in enumerate(spec.config.served_entities):
        yield from _entity(f"config.servedEntities[{index}]", entity)


def _entity(path: str, entity: ServedEntity) -> Iterator[tuple[str, str]]:
    model = entity.external_model
    if model is None:
        yield f"{path}.entityName", "foundation models are not supported yet: use an externalModel"
        return
    if model.provider not in SUPPORTED_PROVIDERS:
        names = " or ".join(SUPPORTED_PROVIDERS)
        yield f"{path}.externalModel.provider", f"{model.provider} is not supported yet: use {names}"
    elif isinstance(model.block, OpenaiConfig) and model.block.openai_api_type is not OpenaiApiType.OPENAI:
        field = f"{path}.externalModel.openaiConfig.openaiApiType"
        yield field, f"{model.block.openai_api_type} is not supported yet: use openai"


def _proxy(spec: EndpointSpec) -> Iterator[tuple[str, str]]:
    if spec.proxy.autoscaling is not None:
        yield "proxy.autoscaling", "autoscaling is not supported yet: set proxy.replicas, or scale the endpoint"
