"""Whatever schemathesis makes of the REST API's document is answered as the document says, in words that help.

Few calls of each operation; `MODEL_SERVING_FUZZ_CASES=1000` makes a long run of it.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
import pytest

from model_serving.management.document import build_document
from model_serving.management.operations import OPERATIONS
from tests.article import CREATE
from tests.management.fuzzing import Known, fuzz, operations
from tests.management.memory import BOB, World
from tests.management.rest import API, NAME, connect, good, workspace

FEW, FEW_WITH_BODY = 2, 8
KNOWN = Known(
    {
        "name": NAME, "id": f"{1:032x}", "entity": "openai_embeddings", "scope": "my_scope",
        "key": "my_openai_api_key", "principal": BOB.name,
    },
    "{{secrets/my_scope/my_openai_api_key}}",
    "https://provider.example.com/v1",
)  # fmt: skip
LABELS = {f"{each.method} {each.path}": bool(each.request) for each in OPERATIONS}


@cache
def world() -> World:
    """With the article's endpoint; every call gets a copy."""
    made = workspace()

    async def create() -> None:
        async with connect(made) as rest:
            good(await rest.post(API, json=CREATE))

    asyncio.run(create())
    return made


@cache
def documented() -> dict[str, Any]:
    return operations(build_document(OPERATIONS))


def send(request: Mapping[str, Any]) -> httpx.Response:
    own = copy.deepcopy(world())

    async def ask() -> httpx.Response:
        async with connect(own) as rest:
            return await rest.request(**request)

    return asyncio.run(ask())


def test_every_operation_is_in_the_document() -> None:
    assert set(documented()) == set(LABELS)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_answers_conform_to_the_document_and_refusals_help(label: str) -> None:
    fuzz(documented()[label], KNOWN, send, FEW_WITH_BODY if LABELS[label] else FEW)
