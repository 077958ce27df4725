"""Embeddings as OpenAI's API defines them: reading the call, a vendor's batches, writing the answer. Pure.

Reference: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from model_serving.proxy.call import Call
from model_serving.proxy.errors import InvalidParameter, Unavailable
from model_serving.proxy.providers.base import Asked, Reply
from model_serving.proxy.providers.chat import read_field
from model_serving.proxy.providers.features import Features, asked_fields, cannot_express
from model_serving.proxy.usage import Usage

MAX_INPUTS = 2048
"""As in OpenAI's API."""
MAX_INSTRUCTIONS = 4 * 1024 * 1024
"""Characters of an instruction that is repeated before each text: a small body must not become gigabytes."""


class Texts(msgspec.Struct, gc=False):
    """What is to be embedded; `other` holds the dialect's own fields."""

    inputs: list[str]
    dimensions: int | None = None
    other: dict[str, msgspec.Raw] = {}


def read_texts(call: Call, features: Features, provider: str) -> Texts:
    """The call, typed; `instruction` stands before each text, as Databricks has it. InvalidParameter."""
    raw = call.fields["input"]
    inputs = read_field("input", raw, _INPUT)
    inputs = [inputs] if isinstance(inputs, str) else inputs
    if not inputs or len(inputs) > MAX_INPUTS:
        raise InvalidParameter(f"input must hold 1 to {MAX_INPUTS} texts, not {len(inputs)}", parameter="input")
    for number, text in enumerate(inputs):
        if not isinstance(text, str):
            field = f"input[{number}]" if isinstance(text, list) else "input"
            raise cannot_express(field, provider, "send texts, not tokens")
    texts = Texts(inputs)
    for name, value in asked_fields(call.fields, features, provider).items():
        if name == "dimensions":
            texts.dimensions = read_field(name, value, _INT)
        elif name == "instruction":
            instruction = read_field(name, value, _STR)
            if len(instruction) * len(inputs) > MAX_INSTRUCTIONS:
                words = f"instruction stands before each of {len(inputs)} texts: shorten it, or send fewer texts"
                raise InvalidParameter(words, parameter=name)
            texts.inputs = [f"{instruction}{text}" for text in texts.inputs]
        elif name != "encoding_format":
            texts.other = texts.other | {name: value}
    _in_base64(call)
    return texts


def batches(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The texts in their order, at most `size` at a time."""
    return (texts[at : at + size] for at in range(0, len(texts), size))


def write_embeddings(
    asked: Asked, vectors: Sequence[Sequence[float]], usage: Usage | None, *, model: str = ""
) -> Reply:
    """The answer. Unavailable when the vendor sent fewer or more vectors than texts."""
    raw = asked.call.fields["input"]
    expected = 1 if bytes(raw)[:1] == b'"' else len(_COUNT.decode(raw))
    if len(vectors) != expected:
        raise Unavailable(f"the provider sent {len(vectors)} embeddings for {expected} texts")
    write = _base64 if _in_base64(asked.call) else list
    data = [{"object": "embedding", "index": n, "embedding": write(vector)} for n, vector in enumerate(vectors)]
    told = usage or Usage()  # clients take the field for granted; where the vendor tells nothing it holds zeros
    answer: dict[str, Any] = {"object": "list", "data": data, "model": model or asked.model}
    answer["usage"] = {"prompt_tokens": told.prompt_tokens, "total_tokens": told.total_tokens}
    return Reply(_encode(answer), usage)


_encode = msgspec.json.Encoder().encode
_INPUT = msgspec.json.Decoder(str | list[str | int | list[int]])
_COUNT = msgspec.json.Decoder(list[msgspec.Raw])
_INT, _STR = msgspec.json.Decoder(int), msgspec.json.Decoder(str)


def _in_base64(call: Call) -> bool:
    raw = call.fields.get("encoding_format")
    if raw is None or bytes(raw) in (b"null", b'"float"'):
        return False
    if bytes(raw) != b'"base64"':
        raise InvalidParameter("encoding_format must be float or base64", parameter="encoding_format")
    return True


def _base64(vector: Sequence[float]) -> str:
    """Little-endian numbers of 32 bits."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except OverflowError:
        raise Unavailable("the provider sent an embedding with a number beyond 32 bits") from None
