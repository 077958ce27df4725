"""Embeddings of text on Vertex AI: `predict` for the older models, `embedContent` since Gemini Embedding 2. Pure.

References: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api;
google-genai, `models.embed_content`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.call import Call
from model_serving.proxy.errors import Unavailable
from model_serving.proxy.providers.base import Asked, Reply, understood
from model_serving.proxy.providers.chat import given
from model_serving.proxy.providers.embeddings import read_texts, write_embeddings
from model_serving.proxy.providers.features import Features
from model_serving.proxy.providers.gemini_contents import Content, Part
from model_serving.proxy.providers.gemini_media import Wire
from model_serving.proxy.sse import StreamTranslator
from model_serving.proxy.usage import Usage

MAX_TEXTS = 250
"""Of one request."""
MAX_CHARACTERS = 20_000
"""Of one request. The vendor's limit is 20,000 tokens, which nobody counts here: a character is at most about one."""
FEATURES = Features(
    frozenset(("dimensions", "encoding_format", "instruction", "task_type", "title", "auto_truncate")),
    notes=(
        "`task_type` (such as `RETRIEVAL_QUERY`), `title` and `auto_truncate` are the vendor's own fields, for all "
        "texts of a call",
        "texts are sent at most 250 and 20,000 characters at a time, to Gemini's models one at a time",
    ),
)


class Instance(msgspec.Struct, gc=False, omit_defaults=True):
    """One text; these names are in snake_case."""

    content: str
    task_type: Raw | UnsetType = UNSET
    title: Raw | UnsetType = UNSET


class Parameters(Wire):
    """What holds for all texts."""

    output_dimensionality: int | UnsetType = UNSET
    auto_truncate: Raw | UnsetType = UNSET


class PredictRequest(Wire):
    """A request of `predict`."""

    instances: list[Instance]
    parameters: Parameters | UnsetType = UNSET


class EmbedContentConfig(Parameters):
    """How a text is embedded."""

    task_type: Raw | UnsetType = UNSET
    title: Raw | UnsetType = UNSET


class EmbedContentRequest(Wire):
    """A request of `embedContent`."""

    content: Content
    embed_content_config: EmbedContentConfig | UnsetType = UNSET


class _Statistics(msgspec.Struct, gc=False):
    token_count: float | None = None
    token_count_camel: float | None = msgspec.field(default=None, name="tokenCount")


class _Embeddings(msgspec.Struct, gc=False):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct, gc=False):
    embeddings: _Embeddings


class _Predictions(msgspec.Struct, gc=False):
    predictions: list[_Prediction]


class _Embedding(msgspec.Struct, gc=False):
    values: list[float]


class _Counts(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None


class _Embedded(msgspec.Struct, gc=False, rename="camel"):
    embedding: _Embedding
    usage_metadata: _Counts | None = None


_encode = msgspec.json.Encoder().encode
_PREDICTIONS = msgspec.json.Decoder(_Predictions)
_EMBEDDED = msgspec.json.Decoder(_Embedded)


class _Whole:
    """Embeddings are never streamed."""

    stream_type = b""
    features = FEATURES

    def stream(self, asked: Asked) -> StreamTranslator:
        """There are none."""
        raise Unavailable("embeddings are not streamed")


@dataclass(frozen=True, slots=True)
class Predict(_Whole):
    """Several texts per request, as many as the model takes. `provider` is its name in messages."""

    provider: str
    most: int = MAX_TEXTS

    def request(self, call: Call) -> list[bytes]:
        """One request for each batch."""
        texts = read_texts(call, self.features, self.provider)
        other = texts.other
        task_type, title = other.get("task_type", UNSET), other.get("title", UNSET)
        parameters = _filled(Parameters(given(texts.dimensions), other.get("auto_truncate", UNSET)))
        return [
            _encode(PredictRequest([Instance(text, task_type, title) for text in batch], parameters))
            for batch in _batches(texts.inputs, self.most)
        ]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The vectors of all batches in their order."""
        found = [prediction.embeddings for body in bodies for prediction in understood(_PREDICTIONS, body).predictions]
        counts = [each.statistics for each in found if each.statistics is not None]
        tokens = sum((told.token_count or told.token_count_camel or 0) for told in counts)
        return write_embeddings(asked, [each.values for each in found], _usage(tokens))


@dataclass(frozen=True, slots=True)
class EmbedContent(_Whole):
    """A text per request. `provider` is its name in messages."""

    provider: str

    def request(self, call: Call) -> list[bytes]:
        """One request for each text."""
        texts = read_texts(call, self.features, self.provider)
        other = texts.other
        config = EmbedContentConfig(
            given(texts.dimensions),
            other.get("auto_truncate", UNSET),
            other.get("task_type", UNSET),
            other.get("title", UNSET),
        )
        told = UNSET if config == EmbedContentConfig() else config
        return [_encode(EmbedContentRequest(Content([Part(text=text)]), told)) for text in texts.inputs]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The vectors in their order."""
        found = [understood(_EMBEDDED, body) for body in bodies]
        tokens = sum(((each.usage_metadata or _Counts()).prompt_token_count or 0) for each in found)
        return write_embeddings(asked, [each.embedding.values for each in found], _usage(tokens))


def _filled(parameters: Parameters) -> Parameters | UnsetType:
    return UNSET if parameters == Parameters() else parameters


def _usage(tokens: float) -> Usage | None:
    return Usage(int(tokens)) if tokens else None


def _batches(texts: Sequence[str], most: int) -> Iterator[list[str]]:
    """The texts in their order, as many at a time as one request may hold."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == most or size + len(text) > MAX_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    yield batch
