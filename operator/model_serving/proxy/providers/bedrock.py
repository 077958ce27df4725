"""Amazon Bedrock: chat and text completions through Converse, embeddings through InvokeModel.

Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
"""

from __future__ import annotations

import re
from urllib.parse import quote

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy.credentials.aws import aws_scheme
from model_serving.proxy.credentials.aws_identity import aws_domain
from model_serving.proxy.credentials.scheme import Scheme
from model_serving.proxy.providers.base import Dialect
from model_serving.proxy.providers.bedrock_converse import MODEL_FIELDS, Converse
from model_serving.proxy.providers.bedrock_embeddings import CohereEmbed, Titan
from model_serving.proxy_config import Target

_REGION = re.compile(r"[a-z0-9-]{1,32}")
_TITAN_ONE = re.compile(r"titan-embed-(text-v1|g1-text)")
_EMBED_THREE = re.compile(r"embed-(english|multilingual)-v3")


class AmazonBedrock:
    """Provider `amazon-bedrock`; `bedrock_provider` tells who made the model."""

    name = "amazon-bedrock"
    tasks = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))

    def url(self, target: Target, stream: bool) -> str:
        """The region's endpoint, or another one, and the model's path: an id, an inference profile or an ARN."""
        model = quote(target.model, safe="")
        if model in ("", ".", ".."):
            raise ValueError(f"{target.model!r} is not the name of a model")
        if target.task == EMBEDDINGS:
            return f"{_base(target)}/model/{model}/invoke"
        return f"{_base(target)}/model/{model}/{'converse-stream' if stream else 'converse'}"

    def scheme(self, target: Target) -> Scheme:
        """Signatures by AWS' fourth version."""
        return aws_scheme(target)

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """None."""
        return []

    def dialect(self, target: Target) -> Dialect:
        """Converse, or the body of an embedding model."""
        maker = target.settings["bedrock_provider"].lower()
        if maker not in MODEL_FIELDS:
            raise ValueError(f"bedrock_provider {maker} is not known: set one of {', '.join(MODEL_FIELDS)}")
        if target.task != EMBEDDINGS:
            return Converse(self.name, maker, target.task == COMPLETIONS)
        if maker == "amazon":
            return Titan(self.name, _TITAN_ONE.search(target.model) is None)
        if maker == "cohere":
            return CohereEmbed(self.name, _EMBED_THREE.search(target.model) is None)
        raise ValueError(f"bedrock_provider {maker} has no embeddings: amazon and cohere do")


def _base(target: Target) -> str:
    own = target.settings.get("aws_endpoint_url")
    if own:
        return own.rstrip("/")
    region = target.settings["aws_region"]
    if not _REGION.fullmatch(region):
        raise ValueError(f"aws_region {region!r} is not a region")
    return f"https://bedrock-runtime.{region}.{aws_domain(region)}"
