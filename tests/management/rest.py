"""A client of the REST API in memory, and the bodies of the reference article."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from model_serving.management.app import build_app
from model_serving.management.call import Patience
from model_serving.management.operations import OPERATIONS
from model_serving.stores import Caller
from tests.article import CREATE
from tests.management.memory import ALICE, World

API = "/api/2.0/serving-endpoints"
NAME = "openai_endpoint"
AT = f"{API}/{NAME}"
QUICK = Patience(ready=0.05, observed=0.1, poll=0.01)

CODES = {
    400: {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"},
    401: {"UNAUTHENTICATED"},
    403: {"PERMISSION_DENIED"},
    404: {"RESOURCE_DOES_NOT_EXIST"},
    405: {"INVALID_PARAMETER_VALUE"},
    409: {"RESOURCE_CONFLICT"},
    413: {"INVALID_PARAMETER_VALUE"},
    501: {"NOT_IMPLEMENTED"},
    503: {"TEMPORARILY_UNAVAILABLE"},
}
"""Which `error_code` may stand beside which status: section 1.5 of the reference."""

RETRIED = ("Unexpected error", "Please try again later or try a faster operation.")
"""Databricks' SDK retries an error whose message holds one of these."""


def entity(name: str = "openai_chat", model: str = "gpt-4", task: str = "llm/v1/chat", **config: str) -> dict[str, Any]:
    """One served entity; its key is the article's unless `config` says otherwise."""
    block = config or {"openai_api_key": "{{secrets/my_scope/my_openai_api_key}}"}
    return {"name": name, "external_model": {"name": model, "provider": "openai", "task": task, "openai_config": block}}


def config_of(model: str) -> dict[str, Any]:
    """A config that differs from others by its model."""
    return {"served_entities": [entity(model=model)]}


def create_body(name: str = NAME, **block: str) -> dict[str, Any]:
    """The article's example under another name, or with other settings of its provider."""
    body = copy.deepcopy(CREATE) | {"name": name}
    if block:
        body["config"]["served_entities"][0]["external_model"]["openai_config"] = block
    return body


def workspace(steps: int = 2) -> World:
    """A world with the article's secret."""
    world = World(steps=steps)
    world.add_scope("my_scope", my_openai_api_key="sk-of-the-scope")
    return world


@asynccontextmanager
async def connect(
    world: World, caller: Caller | None = ALICE, patience: Patience = QUICK
) -> AsyncIterator[httpx.AsyncClient]:
    """The REST API of `world` for one caller; None: without a token."""
    transport = httpx.ASGITransport(build_app(world.platform(), OPERATIONS, patience))
    headers = {"Authorization": f"Bearer {caller.token}"} if caller else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://workspace", headers=headers) as client:
        yield client


def good(answer: httpx.Response) -> dict[str, Any]:
    """The body of an answer that must be 200."""
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refused(answer: httpx.Response, status: int, *words: str) -> str:
    """The message of a refusal with that status; it must hold `words`, and be one that clients understand."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["error_code"] in CODES[status]
    message: str = body["message"]
    assert set(body) == {"error_code", "message"}
    assert not any(phrase in message for phrase in RETRIED)
    for word in words:
        assert word in message, message
    return message
