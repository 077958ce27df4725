"""Cohere's API for embeddings: texts in batches, vectors of floats. Pure.

Reference: https://docs.cohere.com/reference/embed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from model_serving.proxy.call import Call
from model_serving.proxy.errors import Unavailable
from model_serving.proxy.providers.base import Asked, Reply, understood
from model_serving.proxy.providers.cohere_answers import NAME, Counted, usage_of
from model_serving.proxy.providers.embeddings import batches, read_texts, write_embeddings
from model_serving.proxy.providers.features import Features
from model_serving.proxy.sse import StreamTranslator
from model_serving.proxy.usage import Usage

BATCH = 96
"""Texts per request."""
INPUT_TYPE = Raw(b'"search_document"')
"""What texts are when the client does not say it: the vendor wants to know, OpenAI's API has no word for it."""
FLOATS = ["float"]

FEATURES = Features(
    fields=frozenset(
        ("dimensions", "encoding_format", "instruction", "input_type", "truncate", "max_tokens", "priority")
    ),
    notes=(
        "`input_type` is Cohere's own, `search_document` unless a call says otherwise: send `search_query` with "
        "queries; `truncate`, `max_tokens` and `priority` are its own, too",
        f"more than {BATCH} texts are sent in several requests",
    ),
)


class _Request(msgspec.Struct, gc=False, omit_defaults=True):
    model: str
    texts: Sequence[str]
    input_type: Raw
    embedding_types: list[str]
    output_dimension: int | None = None
    truncate: Raw | None = None
    max_tokens: Raw | None = None
    priority: Raw | None = None


class _Vectors(msgspec.Struct, gc=False, rename={"floats": "float"}):
    floats: list[list[float]]


class _Answer(msgspec.Struct, gc=False):
    embeddings: _Vectors
    meta: Counted | None = None


_encode = msgspec.json.Encoder().encode
_ANSWER = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class CohereEmbed:
    """Embeddings."""

    model: str

    stream_type = b""
    features = FEATURES

    def request(self, call: Call) -> list[bytes]:
        """A body for each batch."""
        texts = read_texts(call, self.features, NAME)
        own = {"input_type": INPUT_TYPE} | texts.other
        return [
            _encode(_Request(self.model, batch, embedding_types=FLOATS, output_dimension=texts.dimensions, **own))
            for batch in batches(texts.inputs, BATCH)
        ]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """All vectors, in the order of the texts."""
        answers = [understood(_ANSWER, body) for body in bodies]
        vectors = [vector for answer in answers for vector in answer.embeddings.floats]
        return write_embeddings(asked, vectors, _sum([usage_of(answer.meta) for answer in answers]))

    def stream(self, asked: Asked) -> StreamTranslator:
        """There is none."""
        raise Unavailable("embeddings are not streamed")


def _sum(told: Sequence[Usage | None]) -> Usage | None:
    known = [usage for usage in told if usage is not None]
    return Usage(sum(usage.prompt_tokens for usage in known)) if known else None
