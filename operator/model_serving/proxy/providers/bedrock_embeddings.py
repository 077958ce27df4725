"""Embeddings on Bedrock, through InvokeModel: Amazon's Titan, and Cohere's Embed. Pure; used by `bedrock.py`.

Titan takes one text per request, Cohere 96. Cohere's answer does not say what was used.

References: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Raw, UnsetType

from model_serving.proxy.call import Call
from model_serving.proxy.errors import Unavailable
from model_serving.proxy.providers.base import Asked, Reply, understood
from model_serving.proxy.providers.chat import given
from model_serving.proxy.providers.embeddings import batches, read_texts, write_embeddings
from model_serving.proxy.providers.features import Features
from model_serving.proxy.sse import StreamTranslator
from model_serving.proxy.usage import Usage

COHERE_BATCH = 96
COHERE_TYPE = "search_document"
"""What Cohere's models take a text for unless the call says it: they demand a word."""

_FIELDS = frozenset({"instruction", "encoding_format"})


class _TitanBody(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    input_text: str
    dimensions: int | UnsetType = UNSET
    normalize: Raw | UnsetType = UNSET


class _TitanAnswer(msgspec.Struct, rename="camel", gc=False):
    embedding: list[float]
    input_text_token_count: int | None = None


class _CohereBody(msgspec.Struct, omit_defaults=True, gc=False):
    texts: Sequence[str]
    input_type: Raw | str
    truncate: Raw | UnsetType = UNSET
    output_dimension: int | UnsetType = UNSET


class _ByType(msgspec.Struct, gc=False):
    numbers: list[list[float]] = msgspec.field(name="float")


class _CohereAnswer(msgspec.Struct, gc=False):
    embeddings: list[list[float]] | _ByType


_encode = msgspec.json.Encoder().encode
_TITAN, _COHERE = msgspec.json.Decoder(_TitanAnswer), msgspec.json.Decoder(_CohereAnswer)


@dataclass(frozen=True, slots=True)
class Titan:
    """`tunable`: newer models than the first take dimensions and normalization."""

    provider: str
    tunable: bool

    stream_type = b""

    @property
    def features(self) -> Features:
        """What the model takes."""
        return Features(_FIELDS | ({"dimensions", "normalize"} if self.tunable else frozenset()))

    def request(self, call: Call) -> list[bytes]:
        """One request per text."""
        texts = read_texts(call, self.features, self.provider)
        dimensions, normalize = given(texts.dimensions), given(texts.other.get("normalize"))
        return [_encode(_TitanBody(text, dimensions, normalize)) for text in texts.inputs]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The vectors in order, the tokens added up."""
        answers = [understood(_TITAN, body) for body in bodies]
        usage = Usage(sum(answer.input_text_token_count or 0 for answer in answers))
        return write_embeddings(asked, [answer.embedding for answer in answers], usage)

    def stream(self, asked: Asked) -> StreamTranslator:
        """There are none."""
        raise _no_streams()


@dataclass(frozen=True, slots=True)
class CohereEmbed:
    """`tunable`: newer models than the third generation take dimensions."""

    provider: str
    tunable: bool

    stream_type = b""

    @property
    def features(self) -> Features:
        """What the model takes."""
        fields = _FIELDS | {"input_type", "truncate"}
        notes = (f"`input_type` is `{COHERE_TYPE}` where the call has none: the model demands one",)
        return Features(fields | ({"dimensions"} if self.tunable else frozenset()), notes=notes)

    def request(self, call: Call) -> list[bytes]:
        """One request per 96 texts."""
        texts = read_texts(call, self.features, self.provider)
        kind = texts.other.get("input_type", COHERE_TYPE)
        truncate, dimensions = given(texts.other.get("truncate")), given(texts.dimensions)
        return [_encode(_CohereBody(some, kind, truncate, dimensions)) for some in batches(texts.inputs, COHERE_BATCH)]

    def reply(self, asked: Asked, bodies: Sequence[bytes]) -> Reply:
        """The vectors in order."""
        vectors: list[list[float]] = []
        for body in bodies:
            found = understood(_COHERE, body).embeddings
            vectors += found.numbers if isinstance(found, _ByType) else found
        return write_embeddings(asked, vectors, None)

    def stream(self, asked: Asked) -> StreamTranslator:
        """There are none."""
        raise _no_streams()


def _no_streams() -> Unavailable:
    return Unavailable("embeddings are not streamed")
