"""Another serving endpoint: Databricks', or one of this project. Its API is ours, so bodies pass through.

Reference: Databricks' external models, provider `databricks-model-serving`.
"""

from __future__ import annotations

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy.credentials.scheme import Bearer, Scheme
from model_serving.proxy.providers.base import Dialect, path_segment
from model_serving.proxy.providers.openai_dialect import OpenAIDialect
from model_serving.proxy_config import Target


class DatabricksModelServing:
    """Provider `databricks-model-serving`; the model's name is the endpoint's there."""

    name = "databricks-model-serving"
    tasks = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))

    def url(self, target: Target, stream: bool) -> str:
        """The invocations of that endpoint. The workspace's URL may end as clients of OpenAI's API are told it."""
        workspace = target.settings.get("databricks_workspace_url")
        if not workspace:
            raise ValueError("databricks_workspace_url is missing")
        root = workspace.rstrip("/").removesuffix("/serving-endpoints")
        return f"{root}/serving-endpoints/{path_segment(target.model)}/invocations"

    def scheme(self, target: Target) -> Scheme:
        """A bearer token."""
        return Bearer(target.credentials["databricks_api_token"])

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """None."""
        return []

    def dialect(self, target: Target) -> Dialect:
        """Ours, which is OpenAI's. The path names the model; not every endpoint there takes `stream_options`."""
        return OpenAIDialect("", counts=False)
