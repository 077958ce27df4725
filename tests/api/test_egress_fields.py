"""Providers at other addresses: every field that names a URL is judged. (`tests/proxy/egress` calls them there.)"""

from __future__ import annotations

from model_serving.api import hosts
from model_serving.api.external_model import BLOCKS, Provider

BASES = {
    Provider.OPENAI: "openai_api_base",
    Provider.ANTHROPIC: "anthropic_api_base",
    Provider.COHERE: "cohere_api_base",
    Provider.AMAZON_BEDROCK: "aws_endpoint_url",
    Provider.GOOGLE_CLOUD_VERTEX_AI: "vertex_api_base",
    Provider.AI21LABS: "ai21labs_api_base",
    Provider.DATABRICKS_MODEL_SERVING: "databricks_workspace_url",
    Provider.CUSTOM: "custom_provider_url",
}


def test_each_provider_but_the_retired_one_has_one_field_for_its_address() -> None:
    assert set(Provider) - set(BASES) == {Provider.PALM}
    assert set(hosts.URL_FIELDS) == {(BLOCKS[provider], field) for provider, field in BASES.items()}
