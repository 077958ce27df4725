"""All providers by name. A further one is a file of this folder and a row here."""

from __future__ import annotations

from model_serving.proxy.providers.ai21labs import AI21Labs
from model_serving.proxy.providers.anthropic import Anthropic
from model_serving.proxy.providers.base import Provider
from model_serving.proxy.providers.bedrock import AmazonBedrock
from model_serving.proxy.providers.cohere import Cohere
from model_serving.proxy.providers.custom import Custom
from model_serving.proxy.providers.databricks import DatabricksModelServing
from model_serving.proxy.providers.openai import OpenAI
from model_serving.proxy.providers.vertex import VertexAI

PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        OpenAI(),
        Anthropic(),
        Custom(),
        DatabricksModelServing(),
        Cohere(),
        AI21Labs(),
        AmazonBedrock(),
        VertexAI(),
    )
}
