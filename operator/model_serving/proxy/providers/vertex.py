"""Google's Vertex AI: Gemini, Claude, and embeddings of text. The model's name decides which API is spoken.

A model is named as in its documentation (`gemini-2.5-pro`, `claude-sonnet-4-5@20250929`), with its publisher
(`publishers/google/models/…`, `google/…`), or, where it was tuned, as `projects/…/locations/…/endpoints/…`.

References: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference,
https://docs.claude.com/en/api/claude-on-vertex-ai
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

from model_serving.proxy.call import CHAT, COMPLETIONS, EMBEDDINGS
from model_serving.proxy.credentials.google import google_scheme
from model_serving.proxy.credentials.scheme import Scheme
from model_serving.proxy.providers.anthropic_messages import Messages
from model_serving.proxy.providers.base import Dialect, path_segment
from model_serving.proxy.providers.gemini import GeminiChat, GeminiText
from model_serving.proxy.providers.vertex_embeddings import EmbedContent, Predict
from model_serving.proxy_config import Target

ANTHROPIC_VERSION = "vertex-2023-10-16"
"""Of the API of Claude on Vertex AI: the only one."""
PREDICTED = "gemini-embedding-001"
"""The one embedding model of Gemini that `predict` serves; it takes one text."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]*"
_PUBLISHED = re.compile(rf"(?:(?:publishers/)?({_NAME})/(?:models/)?)?({_NAME})")
_TUNED = re.compile(rf"projects/{_NAME}/locations/({_NAME})/endpoints/{_NAME}")
_REGION = re.compile(r"[a-z0-9-]+")


class _Model(NamedTuple):
    publisher: str
    """`google` or `anthropic`."""
    name: str
    path: str
    """Below `/v1/`."""


class VertexAI:
    """Provider `google-cloud-vertex-ai`."""

    name = "google-cloud-vertex-ai"
    tasks = frozenset((CHAT, COMPLETIONS, EMBEDDINGS))

    def url(self, target: Target, stream: bool) -> str:
        """The region's host, or the base in its place, and the model's method."""
        settings = target.settings
        base = settings.get("vertex_api_base") or f"https://{_host(settings['region'])}"
        return f"{base.rstrip('/')}/v1/{_model(target).path}:{_method(target, stream)}"

    def scheme(self, target: Target) -> Scheme:
        """A token of Google's."""
        return google_scheme(target)

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """None."""
        return []

    def dialect(self, target: Target) -> Dialect:
        """By publisher and task."""
        model = _model(target)
        if target.task == EMBEDDINGS:
            if _embeds_content(model.name):
                return EmbedContent(self.name)
            return Predict(self.name, 1) if model.name == PREDICTED else Predict(self.name)
        if model.publisher == "anthropic":
            return Messages(self.name, "", ANTHROPIC_VERSION, urls=False)
        return GeminiText(self.name, model.name) if target.task == COMPLETIONS else GeminiChat(self.name, model.name)


def _host(region: str) -> str:
    """The host of a region, of all (`global`), or of a part of the world."""
    if not _REGION.fullmatch(region):
        raise ValueError(f"region {region} cannot be: name one such as europe-west4, or global")
    if region == "global":
        return "aiplatform.googleapis.com"
    return (
        f"aiplatform.{region}.rep.googleapis.com" if region in ("us", "eu") else f"{region}-aiplatform.googleapis.com"
    )


def _model(target: Target) -> _Model:
    """Publisher, name and path. ValueError for a model that is not served here."""
    region = target.settings["region"]
    tuned = _TUNED.fullmatch(target.model)
    if tuned is not None:
        if target.task == EMBEDDINGS or tuned.group(1) != region:
            raise ValueError(f"model {target.model}: an endpoint serves chat and completions, in its own region")
        return _Model("google", target.model, target.model)
    found = _PUBLISHED.fullmatch(target.model)
    publisher, name = found.groups() if found else (None, "")
    publisher = publisher or ("anthropic" if name.startswith("claude-") else "google")
    if not name or publisher not in ("google", "anthropic"):
        raise ValueError(
            f"model {target.model} is not served by this provider: name a model of Google or Anthropic, "
            "or projects/…/locations/…/endpoints/…; for other publishers' models use provider custom"
        )
    if publisher == "anthropic" and target.task != CHAT:
        raise ValueError(f"model {target.model} serves chat only")
    place = f"projects/{path_segment(target.settings['project_id'])}/locations/{region}"
    return _Model(publisher, name, f"{place}/publishers/{publisher}/models/{quote(name, safe='@')}")


def _method(target: Target, stream: bool) -> str:
    model = _model(target)
    if target.task == EMBEDDINGS:
        return "embedContent" if _embeds_content(model.name) else "predict"
    if model.publisher == "anthropic":
        return "streamRawPredict" if stream else "rawPredict"
    return "streamGenerateContent?alt=sse" if stream else "generateContent"


def _embeds_content(name: str) -> bool:
    """Whether an embedding model is served by `embedContent`."""
    return name.startswith("gemini-embedding") and name != PREDICTED
